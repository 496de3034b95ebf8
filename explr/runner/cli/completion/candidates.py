"""Tab completion: the candidates at the cursor, for subcommands and for Hydra's command line.

The scripts in `scripts` pass the line to this module and show what it prints.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from explr.runner.cli.completion.scripts import Candidate

OPEN = ("=", ".", "/")
"""Last characters of words that are not finished, so that no space follows them."""


def print_candidates(line: str) -> None:
    """Print the candidates at the end of a line, each as KIND,WORD.

    Args:
        line: the command line up to the cursor, including the program.
    """
    for kind, word in candidates(line):
        print(f"{kind},{word}")


def candidates(line: str) -> list[Candidate]:
    """The candidates at the end of a line.

    Args:
        line: the command line up to the cursor, including the program.

    Returns:
        Kind and word of each: `plain`, or `file` and `dir`, which the shell completes itself.
    """
    from click.shell_completion import split_arg_string

    words = split_arg_string(line)[1:]
    word = words.pop() if words and not line[-1].isspace() else ""
    if not words:
        return [*_of_subcommands(words, word), *_of_hydra(words, word)]
    if _is_setting(words[0]):
        return _of_hydra(words, word)
    found = _of_subcommands(words, word)
    if found or word.startswith("-") or words[-1].startswith("--"):
        return found
    return _of_hydra(words[1:], word) if _takes_settings(words[0]) else []


def _is_setting(word: str) -> bool:
    return "=" in word or not word[0].isalpha()


def _of_subcommands(words: list[str], word: str) -> list[Candidate]:
    from click.shell_completion import ShellComplete

    from explr.runner.cli.commands import commands

    if word.startswith("-") if not words else words[0] not in commands.commands:
        return []  # flags before any subcommand belong to Hydra
    completer = ShellComplete(commands, {}, "explr", "")
    return [(item.type, str(item.value)) for item in completer.get_completions(words, word)]


def _takes_settings(name: str) -> bool:
    from explr.runner.cli.commands import commands

    command = commands.commands.get(name)
    return command is not None and any(one.name == "overrides" for one in command.params)


def _of_hydra(words: Sequence[str], word: str) -> list[Candidate]:
    if word.startswith("-"):
        return [("plain", flag) for flag in _flags() if flag.startswith(word)]
    found = [("plain", match) for match in sorted(set(_matches(words, word)))]
    if not found and "=" in word:
        return [("file", "")]  # an unknown value may be a file, as with train_model
    return found


def _flags() -> list[str]:
    from explr.config.command_line import VERBOSITY
    from explr.config.hydra_private import flags

    return sorted({*flags(), *VERBOSITY, "--version"})


def _matches(words: Sequence[str], word: str) -> Iterator[str]:
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from explr.config.command_line import parse_arguments, take_verbosity
    from explr.config.compose import CONFIG_NAME, hydra_app
    from explr.config.hydra_private import complete
    from explr.core.errors import UsageError

    try:
        args = parse_arguments(take_verbosity(words)[0])
        # Hydra splits the line at spaces. With -m, a line with ranges composes too.
        settings = [one for one in args.overrides if "=" in one and not any(map(str.isspace, one))]
        with hydra_app(args.config_dir) as app:
            line = " ".join(["-m", *settings, word])
            found = complete(app, args.config_name or CONFIG_NAME, line)
    except (UsageError, HydraException, OmegaConfBaseException):
        return  # the line does not compose, so there are no candidates
    for match in found:
        group = match.lstrip("+~")
        if group.partition("/")[0] == "explr":
            continue  # schemas, which are not used on the command line
        if "=" in match or match.endswith(OPEN) or match.startswith("~"):
            yield match
        else:  # a group that contains options and groups
            yield f"{match}/"
            if group != "hydra":
                yield f"{match}="
