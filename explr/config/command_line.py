"""The command line, as Hydra's own parser reads it, with one sentence for what it refuses."""

from __future__ import annotations

import os
import re
import shlex
import sys
from argparse import Namespace
from collections.abc import Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import NoReturn

from hydra.core.override_parser.types import Override

from explr.config.advice import flag_hint
from explr.config.grammar import plain, word
from explr.config.hydra_private import args_parser, flags
from explr.core.errors import ConfigError, UsageError
from explr.utils.console import Verbosity

ACTIONS = ("run", "multirun", "cfg", "info", "shell_completion")
"""Flags that each say what Hydra is to do."""

VERBOSITY = {
    "-q": Verbosity.QUIET,
    "--quiet": Verbosity.QUIET,
    "-v": Verbosity.VERBOSE,
    "--verbose": Verbosity.VERBOSE,
}
"""Flags that say how much is shown."""

UNKNOWN = "unrecognized arguments: "
"""How argparse begins to complain of a flag that does not exist."""

SEE = "`explr --hydra-help` lists the flags"


def parse_arguments(arguments: Sequence[str]) -> Namespace:
    """Read a command line of overrides and Hydra's flags.

    Args:
        arguments: the command line without the program.

    Returns:
        Hydra's flags, and the overrides as `overrides`.

    Raises:
        UsageError: a flag is unknown, has a wrong value, or excludes another one.
    """
    parser, long = args_parser(), [each for each in (*flags(), *VERBOSITY) if each[:2] == "--"]

    def refuse(message: str) -> NoReturn:
        if message.startswith(UNKNOWN):
            flag = message.removeprefix(UNKNOWN).split(" ")[0]
            raise UsageError(f"{flag_hint(flag, arguments, long)} ({SEE})")
        raise UsageError(f"{message}; {SEE}")

    parser.error = refuse  # type: ignore[method-assign]
    args = parser.parse_intermixed_args(list(arguments))
    for text in args.overrides:
        if option := re.fullmatch(
            r"hydra\.(launcher|sweeper|hydra_logging|job_logging)=(\w+)", text
        ):
            write = f"hydra/{option[1]}={option[2]}"
            raise UsageError(f"{text}: an option is chosen with a /: write {write}")
    chosen = [action for action in ACTIONS if getattr(args, action)]
    if len(chosen) > 1:
        refuse(" and ".join(_flag(action) for action in chosen) + " exclude one another")
    if args.experimental_rerun is not None:
        for other in ("multirun", "config_name"):
            if getattr(args, other):
                refuse(f"--experimental-rerun and {_flag(other)} exclude one another")
    if args.resolve and not (args.cfg or args.help):
        refuse("--resolve needs --cfg")
    return args


def sweeps_trials(args: Namespace) -> bool:
    """Whether a command line starts a sweep.

    Args:
        args: what `parse_arguments` returned.
    """
    return bool(args.multirun) or "hydra.mode=MULTIRUN" in args.overrides


def take_verbosity(arguments: Sequence[str]) -> tuple[list[str], Verbosity]:
    """Take the flags out of a command line that are explr's own, and that Hydra does not know.

    Args:
        arguments: the command line without the program.

    Returns:
        The rest of it, and how much is to be shown.

    Raises:
        UsageError: both flags are given.
    """
    rest: list[str] = []
    chosen: set[Verbosity] = set()
    for argument in arguments:
        joined = re.fullmatch("-([hmr]*)([qv])([hmr]*)", argument)  # as in -mq
        if joined:
            chosen.add(VERBOSITY[f"-{joined[2]}"])
            if others := joined[1] + joined[3]:
                rest.append(f"-{others}")
        elif argument in VERBOSITY:
            chosen.add(VERBOSITY[argument])
        else:
            rest.append(argument)
    if len(chosen) > 1:
        raise UsageError("--quiet and --verbose exclude one another")
    return rest, chosen.pop() if chosen else Verbosity.NORMAL


PLAN = "+explr/plan=first_"
"""Override that `explr plan -- COMMAND` adds to the command; a number of samples ends it.

An app without explr refuses it, since it has no such config group, and so trains nothing.
"""

PLANNED = "EXPLR_PLAN"
"""Variable that `explr plan -- COMMAND` sets: the file that tells it of the plan."""


def take_plan(arguments: Sequence[str]) -> tuple[list[str], int | None]:
    """Take out of a command line what asks for a plan in place of a run.

    Args:
        arguments: the command line.

    Returns:
        The rest of it, and how many samples are wanted; None to run it.
    """
    rest = [text for text in arguments if not text.startswith(PLAN)]
    samples = [int(text.removeprefix(PLAN)) for text in arguments if text.startswith(PLAN)]
    if (file := os.environ.get(PLANNED)) is not None:
        Path(file).touch()
        samples.append(SAMPLES)
    return rest, next(iter(samples), None)


SAMPLES = 5
"""Trials that a plan samples."""


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def values_of(override: Override, most: int = 1) -> list[str]:
    """What a sweep would put on the line of a job in place of an override.

    Args:
        override: an override of the sweep, with a range or without.
        most: how many values of a range are wanted.

    Raises:
        ConfigError: the range has no values.
    """
    key = override.get_key_element()
    if not override.is_sweep_override():
        assert override.input_line is not None
        return [override.input_line]
    if override.is_discrete_sweep():
        try:
            values = list(islice(override.sweep_iterator(), most))
        except ValueError as error:  # as of a range whose step is 0
            raise ConfigError([f"{override.input_line}: {error}"]) from None
        return [f"{key}={word(plain(value))}" for value in values]
    ends = override.value()
    return [f"{key}={end}" for end in (ends.start, ends.end)][:most]  # type: ignore[union-attr]


def program() -> str:
    """How an explr app that runs is called, as its help has it."""
    script, main = Path(sys.argv[0]), getattr(sys.modules["__main__"], "__spec__", None)
    if script.name == "__main__.py" or script.suffix != ".py":
        return "explr"
    if main is not None:
        return f"python -m {main.name}"
    return f"python {shlex.quote(sys.argv[0])}"


def version_line() -> str:
    """The version of explr, and of the Hydra beneath it."""
    return f"explr {version('explr-train')} (Hydra {version('hydra-core')})"
