"""The command of a single training, kept in the folder of its run, so that it can be resumed."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from explr.core.errors import ExplrError, FileError, UsageError
from explr.core.folders import read_json, read_result, within, write_json
from explr.core.secrets.masking import redacted_arguments
from explr.results.command import SweepCommand, command_of
from explr.tracking.destination import working_directory
from explr.tracking.journal.journal import journals_in
from explr.tracking.journal.lines import read_events
from explr.tracking.values import parameters
from explr.utils.processes import ProcessIdentity, identity_of, is_alive

log = logging.getLogger(__name__)

RUN = "run.json"
"""File of a run's folder: the command that began the training, and its process."""

RESUMES = "EXPLR_RESUMES"
"""Variable with the folder of the run that a command resumes."""


def note_command(folder: Path, resumes: bool) -> None:
    """Keep the command of this process in the folder of its run; a failure costs a line of the log.

    Args:
        folder: folder of the run.
        resumes: the training began before, with a command that is kept unless it has moved.
    """
    me, cwd = identity_of(), working_directory()
    content: dict[str, Any] = {
        "cwd": str(cwd),
        "folder": within(cwd, folder),
        "argv": redacted_arguments(sys.orig_argv[1:]),
        "python": sys.executable,
    }
    try:
        kept = run_command(folder) if resumes else None
        if kept is not None and not (kept.moved_from or kept.is_lost):
            content |= read_json(folder / RUN) or {}
        process = {"pid": me.pid, "started": me.started, "host": socket.gethostname()}
        write_json(folder / RUN, content | process)
    except (OSError, FileError) as error:
        log.warning("`explr resume` will not find this run: %s", error)


def takes_up(folder: Path) -> bool:
    """Whether this command resumes the run in a folder; programs that it starts do not."""
    return os.environ.pop(RESUMES, None) == str(folder.resolve())


def run_command(folder: Path) -> SweepCommand | None:
    """The command that began the training in a folder; None if nothing tells it."""
    content = read_json(folder / RUN)
    return None if content is None else command_of(content, folder)


def refuse_ended(folder: Path) -> None:
    """Check that there is something to resume in the folder of a run.

    Raises:
        UsageError: the training is finished, or it still runs.
    """
    if (state := _state(folder)) in ("COMPLETE", "PRUNED"):
        how = "is finished" if state == "COMPLETE" else "was pruned"
        raise UsageError(f"the training in {folder} {how}: there is nothing to resume")
    if is_running(folder):
        pid = (read_json(folder / RUN) or {}).get("pid")
        raise UsageError(f"the training in {folder} still runs, as process {pid}")


def refuse_changed(folder: Path, params: Mapping[str, Any]) -> None:
    """Check that a training goes on with the hyperparameters that it began with.

    Args:
        folder: folder of the run; one that was not tracked does not tell them.
        params: its hyperparameters now.

    Raises:
        UsageError: one has changed.
    """
    before: dict[str, str] = {}
    for journal in journals_in(folder):
        for event, _ in read_events(journal):
            before |= event["p"] if event["k"] == "params" else {}
    now = parameters(params)
    changed = [name for name in now if before.get(name, now[name]) != now[name]]
    if changed:
        said = ", ".join(f"{name} was {before[name]} and is {now[name]}" for name in changed)
        raise UsageError(
            f"the training in {folder} cannot be resumed with another config: {said}; set it back, "
            "or train anew"
        )


def is_running(folder: Path) -> bool:
    """Whether the process of a training runs; one of another machine cannot be looked up."""
    content = read_json(folder / RUN) or {}
    if content.get("host") != socket.gethostname():
        return False
    return is_alive(ProcessIdentity(int(content["pid"]), str(content["started"])))


def unfinished_runs(place: Path) -> Iterator[Path]:
    """Files with the commands of trainings below a folder that can be resumed.

    Args:
        place: the folder.
    """
    for file in place.rglob(RUN):
        try:
            refuse_ended(file.parent)
        except (ExplrError, OSError, KeyError, ValueError):
            continue
        yield file


def _state(folder: Path) -> str:
    try:
        return str((read_result(folder) or {}).get("state", ""))
    except FileError:  # damaged by the kill, perhaps
        return ""
