"""The list of journals to upload, and whether their writers are alive."""

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
from explr.core.secrets.shapes import without_user_info
from explr.tracking.home import explr_home
from explr.tracking.journal.journal import is_being_written, uid_of
from explr.utils.processes import ProcessIdentity, is_alive

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A journal that is to be uploaded.

    Args:
        journal: absolute path of the journal.
        uri: tracking URI that it goes to, without user and password.
        pid: process that writes it.
        started: when that process started.
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
    """Journals on the list, in the order in which they were entered.

    A damaged entry is skipped: `explr sync FOLDER` enters its journal again.

    Args:
        uri: only those that go to this tracking URI.
    """
    wanted = None if uri is None else without_user_info(uri)
    return [entry for entry in _list(_pending()) if wanted in (None, entry.uri)]


def is_of_this_host(entry: Entry) -> bool:
    """Whether the writer runs on this machine, so that its process can be looked up."""
    return entry.host == socket.gethostname()


class _File(NamedTuple):
    """An entry, and the time and inode of the file that it was read from."""

    stamp: tuple[int, int]
    entry: Entry | None


class _Listing(NamedTuple):
    changed_ns: int
    settled: bool
    files: dict[str, _File]
    entries: list[Entry]


SETTLED_NS = 1_000_000_000
"""Age from which a folder's modification time reveals every later change, on any file system."""

_listings: dict[Path, _Listing] = {}


def _list(folder: Path) -> list[Entry]:
    """Entries in `folder`; only changed files are read, since this is called all the time."""
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
                continue  # it was struck off meanwhile
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
"""Age of its last event after which a journal of another machine counts as left."""


class Liveness:
    """Checks which writer processes are alive, and caches the answers."""

    def __init__(self) -> None:
        self._dead: set[ProcessIdentity] = set()
        self._alive: set[ProcessIdentity] = set()

    def look_again(self) -> None:
        """Forget which processes were alive; those that were gone stay gone."""
        self._alive.clear()

    def is_left(self, entry: Entry) -> bool:
        """Whether the writer of a journal is gone.

        A process on another machine (or in a container that is gone) cannot be looked up. Its
        journal counts as left if no process has it open and nothing was written for `ABANDONED_S`.
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
        return False  # it is not visible on this machine
    return silence_s > ABANDONED_S and not is_being_written(journal)
