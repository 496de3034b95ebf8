"""The lists of sweeps and of single runs that began, wherever their folders are.

`explr resume --last` and `explr list --all` read them.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from explr.core.errors import FileError, TrackingError
from explr.core.folders import COMMAND, read_json, replace_file
from explr.tracking.home import explr_home

log = logging.getLogger(__name__)

MOST = 200
"""Sweeps on their list, and runs on theirs; the oldest ones are dropped."""

SWEEPS, RUNS = "sweeps", "runs"
"""Folders below EXPLR_HOME with a file for each of them, so that processes never share one."""


def note_sweep(folder: Path) -> None:
    """Put a sweep on the list; one that is there already becomes the newest.

    A list that cannot be written costs nothing but a line of the log.

    Args:
        folder: folder of the sweep.
    """
    if (fault := _note(folder, SWEEPS)) is not None:
        log.info("`explr resume --last` will not find this sweep: %s", fault)


def note_run(folder: Path) -> None:
    """Put a single run on its list; see `note_sweep`."""
    if (fault := _note(folder, RUNS)) is not None:
        log.debug("`explr list --all` will not find this run: %s", fault)


def _note(folder: Path, listed: str) -> Exception | None:
    """Put a folder on a list; what is wrong if that cannot be."""
    path = str(folder.absolute())
    try:
        place = explr_home() / listed
        place.mkdir(mode=0o700, exist_ok=True)
        name = hashlib.sha256(path.encode(errors="surrogateescape")).hexdigest()[:16]
        replace_file(place / f"{name}.json", {"folder": path})
        for old in _newest_first(place)[MOST:]:
            old.unlink(missing_ok=True)
    except (OSError, TrackingError) as error:
        return error
    return None


def sweeps_begun() -> Iterator[Path]:
    """The folders of sweeps on the list that are still there, the newest first."""
    return (folder for folder in _begun(SWEEPS) if (folder / COMMAND).is_file())


def runs_begun() -> Iterator[Path]:
    """The folders of single runs on their list that are still there, the newest first."""
    return (folder for folder in _begun(RUNS) if folder.is_dir())


def _begun(listed: str) -> Iterator[Path]:
    try:
        place = explr_home() / listed
    except TrackingError:
        return
    for file in _newest_first(place):
        with suppress(FileError, OSError, KeyError, TypeError):  # damaged, or dropped meanwhile
            yield Path((read_json(file) or {})["folder"])


def _newest_first(place: Path) -> list[Path]:
    found: list[tuple[int, Path]] = []
    for file in place.glob("*.json"):
        with suppress(FileNotFoundError):
            found.append((file.stat().st_mtime_ns, file))
    return [file for _, file in sorted(found, reverse=True)]
