"""The list of sweeps that began, wherever their folders are; `explr resume --last` reads it."""

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
"""Sweeps on the list; the oldest ones are dropped."""

FOLDER = "sweeps"
"""Folder below EXPLR_HOME with a file for each sweep, so that processes never share one."""


def note_sweep(folder: Path) -> None:
    """Put a sweep on the list; one that is there already becomes the newest.

    A list that cannot be written costs nothing but a line of the log.

    Args:
        folder: folder of the sweep.
    """
    path = str(folder.absolute())
    try:
        place = explr_home() / FOLDER
        place.mkdir(mode=0o700, exist_ok=True)
        name = hashlib.sha256(path.encode(errors="surrogateescape")).hexdigest()[:16]
        replace_file(place / f"{name}.json", {"folder": path})
        for old in _newest_first(place)[MOST:]:
            old.unlink(missing_ok=True)
    except (OSError, TrackingError) as error:
        log.info("`explr resume --last` will not find this sweep: %s", error)


def sweeps_begun() -> Iterator[Path]:
    """The folders of sweeps on the list that are still there, the newest first."""
    try:
        place = explr_home() / FOLDER
    except TrackingError:
        return
    for file in _newest_first(place):
        with suppress(FileError, OSError, KeyError, TypeError):  # damaged, or dropped meanwhile
            folder = Path((read_json(file) or {})["folder"])
            if (folder / COMMAND).is_file():
                yield folder


def _newest_first(place: Path) -> list[Path]:
    found: list[tuple[int, Path]] = []
    for file in place.glob("*.json"):
        with suppress(FileNotFoundError):
            found.append((file.stat().st_mtime_ns, file))
    return [file for _, file in sorted(found, reverse=True)]
