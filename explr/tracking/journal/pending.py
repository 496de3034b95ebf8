"""Which journals are still being written."""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from explr.core.errors import TrackingError
from explr.core.folders import replace_file
from explr.core.secrets import without_user_info
from explr.tracking.home import explr_home
from explr.tracking.journal.journal import is_being_written, uid_of
from explr.utils.processes import ProcessIdentity, is_alive

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A journal on its way to MLflow.

    Args:
        journal: absolute path of the journal.
        uri: tracking URI that it goes to, without user and password.
        pid: process that writes it.
        started: the moment at which that process started.
        host: machine that this process runs on.
    """

    journal: str
    uri: str
    pid: int
    started: str
    host: str

    @property
    def uid(self) -> str:
        """Identity of the run."""
        return uid_of(Path(self.journal))


def enter(entry: Entry) -> None:
    """Put a journal on the list.

    Raises:
        TrackingError: EXPLR_HOME cannot be written.
    """
    folder = _pending()
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        replace_file(folder / f"{entry.uid}.json", asdict(entry))
    except OSError as error:
        raise TrackingError(f"cannot write {folder}: {error.strerror}") from error


def strike_off(entry: Entry) -> None:
    """Take a journal off the list."""
    (_pending() / f"{entry.uid}.json").unlink(missing_ok=True)


def entries(uri: str | None = None) -> list[Entry]:
    """Journals on the list, those that were entered first before the others.

    What cannot be read as an entry is passed over: `explr sync FOLDER` enters its journal anew.

    Args:
        uri: only those that go to this tracking URI.
    """
    wanted = None if uri is None else without_user_info(uri)
    return [entry for entry in _list(_pending()) if wanted in (None, entry.uri)]


def is_of_this_host(entry: Entry) -> bool:
    """Whether the writer's process can be looked up here."""
    return entry.host == socket.gethostname()


class _File(NamedTuple):
    """An entry as it was read, and what tells whether its file is still the same."""

    stamp: tuple[int, int]
    entry: Entry | None


class _Listing(NamedTuple):
    changed_ns: int
    settled: bool
    files: dict[str, _File]
    entries: list[Entry]


SETTLED_NS = 1_000_000_000
"""Age from which a folder's time of change tells of every later change, on any file system."""

_listings: dict[Path, _Listing] = {}


def _list(folder: Path) -> list[Entry]:
    """Entries in `folder`, read anew only where something changed: this is asked all the time."""
    try:
        changed_ns = folder.stat().st_mtime_ns
    except FileNotFoundError:
        return []
    before = _listings.get(folder)
    if before is not None and before.settled and before.changed_ns == changed_ns:
        return before.entries
    settled = time.time_ns() - changed_ns > SETTLED_NS
    known = before.files if before is not None else {}
    files: dict[str, _File] = {}
    with os.scandir(folder) as found:
        for item in found:
            if not item.name.endswith(".json"):
                continue
            try:
                info = item.stat()
                stamp = (info.st_mtime_ns, info.st_ino)
                file = known.get(item.name)
                if file is None or file.stamp != stamp:
                    file = _File(stamp, _read_entry(Path(item.path)))
            except FileNotFoundError:
                continue  # struck off meanwhile
            files[item.name] = file
    in_order = sorted(files.values(), key=lambda file: file.stamp[0])
    listed = [file.entry for file in in_order if file.entry is not None]
    _listings[folder] = _Listing(changed_ns, settled, files, listed)
    return listed


def _read_entry(path: Path) -> Entry | None:
    try:
        content = json.loads(path.read_bytes())
        return Entry(
            journal=str(content["journal"]),
            uri=str(content["uri"]),
            pid=int(content["pid"]),
            started=str(content["started"]),
            host=str(content["host"]),
        )
    except (ValueError, TypeError, KeyError) as error:
        log.warning("%s is damaged (%s): `explr sync FOLDER` finds its run again", path, error)
        return None


def _pending() -> Path:
    return explr_home() / "pending"


ABANDONED_S = 3600.0
"""Silence after which a journal of another machine, which nobody has open, counts as left."""


class Liveness:
    """Tells the dead from the living, each process being asked about as rarely as possible."""

    def __init__(self) -> None:
        self._dead: set[ProcessIdentity] = set()
        self._alive: set[ProcessIdentity] = set()

    def look_again(self) -> None:
        """Forget who was alive; the dead stay dead."""
        self._alive.clear()

    def is_left(self, entry: Entry) -> bool:
        """Whether nobody will write the journal of `entry` any more.

        A process of another machine (or of a container that is gone) cannot be looked up: there a
        journal is left when nobody has it open and nothing was written for `ABANDONED_S`.
        """
        if not is_of_this_host(entry):
            return _is_abandoned(Path(entry.journal))
        writer = ProcessIdentity(entry.pid, entry.started)
        if writer not in self._dead and writer not in self._alive:
            (self._alive if is_alive(writer) else self._dead).add(writer)
        return writer in self._dead

    def left(self, uri: str) -> list[Entry]:
        """Entries for `uri` whose writers are gone."""
        self.look_again()
        return [entry for entry in entries(uri) if self.is_left(entry)]


def _is_abandoned(journal: Path) -> bool:
    try:
        silence_s = time.time() - journal.stat().st_mtime
    except OSError:
        return False  # not to be seen from here
    return silence_s > ABANDONED_S and not is_being_written(journal)
