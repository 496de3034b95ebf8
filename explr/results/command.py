"""The command that started a sweep or a training, as its folder keeps it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from explr.core.folders import COMMAND, read_json
from explr.utils.invocation import Call, call_of


@dataclass(frozen=True)
class SweepCommand:
    """The command that started a sweep, as the sweep's folder keeps it.

    Args:
        study: name of the sweep's study; "" for a grid.
        cwd: the working directory, where the project is now.
        argv: arguments of the Python interpreter; None if the sweep was started from Python.
        python: the interpreter; None if an older explr did not keep it.
        hydra: the arguments that Hydra was given, where they are not those that were typed.
        moved_from: the working directory where it started, if the project was moved or copied.
        is_lost: where the project is now cannot be told; then `cwd` is where it was.
    """

    study: str
    cwd: Path
    argv: Sequence[str] | None
    python: str | None = None
    hydra: Sequence[str] | None = None
    moved_from: Path | None = None
    is_lost: bool = False

    def here(self, text: str) -> str:
        """A text of the sweep's files, with paths of the project as they are now."""
        if self.moved_from is None:
            return text
        old = rf"(?<!\w){re.escape(str(self.moved_from))}(?![\w.-])"
        return re.sub(old, lambda _: str(self.cwd), text)

    @property
    def call(self) -> Call:
        """The command as one would type it."""
        return call_of(self.argv or (), self.python, self.cwd)

    @property
    def line(self) -> Sequence[str] | None:
        """What the command gives Hydra; None if an older explr did not keep it."""
        call = self.call
        return self.hydra if self.hydra is not None or call.is_explr else call.arguments

    def __str__(self) -> str:
        """The command as one would type it; "" if there was none."""
        call = self.call
        return shlex.join([*call.program, *call.arguments]) if self.argv else ""


def sweep_command(folder: Path) -> SweepCommand | None:
    """The command that started the sweep in a folder; None if a grid or nothing lies there."""
    content = read_json(folder / COMMAND)
    if content is None:
        return None
    return command_of(content, folder)


def command_of(content: Mapping[str, Any], folder: Path) -> SweepCommand:
    """A command as `sweep.json` has it, which started the sweep in a folder."""
    argv, before = content.get("argv"), Path(content["cwd"])
    cwd = _place_now(folder.resolve(), before, content.get("folder"))
    given = SweepCommand(
        content.get("study", ""), before, argv, content.get("python"), content.get("hydra")
    )
    if cwd is None:
        return replace(given, is_lost=True)
    if cwd == before:
        return given
    command = replace(given, cwd=cwd, python=None, moved_from=before)
    return replace(command, argv=argv and [command.here(word) for word in argv])


def _place_now(folder: Path, before: Path, within: str | None) -> Path | None:
    """The working directory of a sweep, which may have been moved or copied with its folder.

    Args:
        folder: folder of the sweep.
        before: the working directory where the sweep started.
        within: path of the folder from there; None if an older explr did not keep it.

    Returns:
        The directory; None if it cannot be told.
    """
    is_inside = folder.is_relative_to(before.resolve())
    if within is None or (before / within).resolve() == folder:
        return before if before.is_dir() else None
    parts = Path(within).parts
    if folder.parts[-len(parts) :] != parts:
        return before if is_inside else None  # renamed
    # Inside, it may be a copy of the project, or only of its sweeps.
    return None if is_inside else Path(*folder.parts[: -len(parts)])
