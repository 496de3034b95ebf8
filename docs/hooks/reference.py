"""Generates the reference of settings and commands from the code.

In a page, the comment `<!-- keys: tuner -->` is followed by the table of a group's keys, and
`<!-- options: tuner -->` by the table of its options; `<!-- words: directions -->` by the words in
the names of metrics that tell a direction. Run as a program, this file rewrites these tables. As a
hook of mkdocs, it generates `reference/commands.md`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import Any

import click
from hydra._internal.utils import get_args_parser
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from omegaconf import DictConfig, OmegaConf

import explr
from explr.config.command_line import VERBOSITY
from explr.core import config as schema
from explr.core.validation import DIRECTIONS, MAXIMIZED, MINIMIZED
from explr.runner.cli.commands import commands

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
COMMANDS = "reference/commands.md"
BESIDE = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
"""Pages of the site that are not in `docs`."""

GROUPS: dict[str, tuple[type, ...]] = {
    "objective": (schema.ObjectiveConfig,),
    "framework": (schema.FrameworkConfig,),
    "tuner": (schema.TunerConfig, schema.OptunaConfig),
    "tuner.ray": (schema.RayClusterConfig,),
    "tracking": (schema.TrackingConfig, schema.MLflowConfig),
    "gpu": (schema.GpuConfig,),
    "data": (schema.DataConfig,),
}
TOLD = {
    "tuner.name": "`none`",
    "tuner.study_name": "the time of the start",
    "tuner.sampler": "`tuner/sampler=tpe`",
    "tuner.pruner": "`tuner/pruner=asha`",
    "tracking.uri": "`MLFLOW_TRACKING_URI`",
}
"""Descriptions of defaults that a value alone does not explain."""

UNITS = {"_s": "s", "_gb": "GiB"}

FLAGS = {
    "--version": "Show explr's version and Hydra's",
    "-q": "Show only warnings, errors and the result",
    "-v": "Show all that is logged",
    "--shell-completion": "Hydra's own tab completion; `explr completion` knows subcommands too",
}
"""Texts that replace Hydra's own help of a flag."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated page and the pages outside `docs`; called by mkdocs."""
    files.append(File.generated(config, COMMANDS, content=commands_page()))
    for name in BESIDE:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links to files outside `docs` to their pages in the site; called by mkdocs."""
    for name in BESIDE:
        markdown = markdown.replace(f"](../{name}", f"]({name}")
    return markdown


def filled(markdown: str) -> str:
    """A page whose tables are replaced by newly generated ones.

    Raises:
        KeyError: a comment names a group that does not exist.
    """
    makers: dict[str, Callable[[str], str]] = {
        "keys": keys_table,
        "options": options_table,
        "words": words_table,
    }
    return re.sub(
        r"^(<!-- (keys|options|words): ([\w./]+) -->\n)(\n(\|.*\n)+)?",
        lambda found: f"{found[1]}\n{makers[found[2]](found[3])}\n",
        markdown,
        flags=re.MULTILINE,
    )


def keys_table(group: str) -> str:
    """The keys of a group with unit, default and meaning.

    Raises:
        KeyError: there is no such group.
    """
    composed = explr.compose(["tuner=ray"])
    rows: dict[str, list[str]] = {}
    for one in GROUPS[group]:
        meanings = _meanings(one)
        for field in fields(one):
            key = f"{group}.{field.name}"
            if OmegaConf.is_dict(OmegaConf.select(composed, key)) and key in GROUPS:
                continue  # it has its own table
            default = TOLD.get(key) or f"`{_shown(OmegaConf.select(composed, key))}`"
            unit = next((u for end, u in UNITS.items() if field.name.endswith(end)), "")
            rows.setdefault(key, [f"`{key}`", unit, default, meanings[field.name]])
    return _table(["key", "unit", "default", "meaning"], rows.values())


def options_table(group: str) -> str:
    """The options of a group, described by the first comment of each file.

    Raises:
        KeyError: there is no such group.
    """
    paths = sorted((CONF / group).glob("*.yaml"))
    if not paths:
        raise KeyError(group)
    inner = "/" in group
    rows = []
    for path in paths:
        row = [f"`{group}={path.stem}`", _purpose(path)]
        rows.append([*row, ", ".join(f"`{key}`" for key in _own_keys(path))] if inner else row)
    return _table(["option", "what it does", *(["its own keys"] if inner else [])], rows)


def words_table(of: str) -> str:
    """The words in the names of metrics that tell a direction.

    Raises:
        KeyError: there are no words of anything else.
    """
    rows = {"directions": zip(DIRECTIONS, (MINIMIZED, MAXIMIZED), strict=True)}[of]
    return _table(
        ["direction", "words in the name of the metric"],
        [[f"`{way}`", ", ".join(f"`{word}`" for word in words)] for way, words in rows],
    )


def commands_page() -> str:
    """Every command and flag, with the help texts of the command line."""
    parts = [
        "# Commands",
        "If the first argument is a bare word, it is a subcommand. All other command lines are "
        "Hydra's.",
        "## `explr [FLAG …] [KEY=VALUE …]`",
        "Trains once; with `-m` it runs a sweep.",
        _table(["flag", ""], _flags()),
    ]
    for name, command in sorted(commands.commands.items()):
        context = click.Context(command, info_name=f"explr {name}")
        usage = " ".join(command.collect_usage_pieces(context))
        parts += [
            f"## `explr {name}`",
            f"`explr {name} {usage}`",
            inspect.cleandoc(command.help or ""),
        ]
        options = [one.get_help_record(context) for one in command.get_params(context)]
        rows = [[f"`{one[0]}`", one[1]] for one in options if one and one[1]]
        parts.append(_table(["option", ""], rows))
    return "\n\n".join(parts) + "\n"


def _flags() -> Iterator[list[str]]:
    for action in get_args_parser()._actions:
        if action.option_strings and action.help:
            first = action.option_strings[0]
            text = FLAGS.get(first) or str(action.help).strip().splitlines()[0]
            yield [", ".join(f"`{flag}`" for flag in action.option_strings), text]
    for level in dict.fromkeys(VERBOSITY.values()):
        flags = [flag for flag, chosen in VERBOSITY.items() if chosen is level]
        yield [", ".join(f"`{flag}`" for flag in flags), FLAGS[flags[0]]]


def _table(head: list[str], rows: Any) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in line) + " |"
        for line in lines
    )


def _meanings(one: type) -> dict[str, str]:
    """The comment above each field of a dataclass, those of its bases included."""
    found: dict[str, str] = {}
    for base in one.__bases__:
        found |= _meanings(base) if base is not object else {}
    comment: list[str] = []
    for line in map(str.strip, inspect.getsource(one).splitlines()):
        if line.startswith("#"):
            comment.append(line.lstrip("# "))
        else:
            if field := re.match(r"(\w+): ", line):
                found[field[1]] = " ".join(comment)
            comment = []
    return found


def _purpose(path: Path) -> str:
    """The first comment of a config file that is not an instruction to Hydra."""
    lines = path.read_text(encoding="utf-8").splitlines()
    comments = [line.lstrip("# ") for line in lines if line.startswith("# ")]
    return next(comment for comment in comments if not comment.startswith("@package"))


def _own_keys(path: Path) -> list[str]:
    content = OmegaConf.load(path)
    assert isinstance(content, DictConfig)
    return [str(key) for key in content if not str(key).startswith("_")]


def _shown(value: Any) -> str:
    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value)
    if isinstance(value, Enum):
        value = value.name
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    for path in (ROOT / "docs").rglob("*.md"):
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
