"""The journal of a run: writing events, reading them, finding the journals of earlier attempts.

A line holds a CRC-32 checksum, a blank, and the event as JSON.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from explr.core.errors import TrackingError

VERSION = 1
"""Version of the format, recorded in the first event."""

CLOSED = -1
"""Stands for a closed descriptor, whose number another file may have soon."""

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def now_ms() -> int:
    """Milliseconds since the epoch, which is MLflow's unit for every time."""
    return time.time_ns() // 1_000_000


class Journal:
    """Appends events to one file.

    An event has `k` (its kind), `t` (milliseconds since the epoch) and further fields of its kind.
    Kinds are `start`, `metrics`, `params`, `tags`, `artifact`, `register` and `end`.

    Args:
        path: the file; its folder must exist.

    Raises:
        TrackingError: the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._descriptor = os.open(
                path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            raise TrackingError(f"no journal at {path}: {error.strerror}") from error
        self._torn = False
        # Held while the writer lives; see `is_being_written`. Some file systems have no locks.
        with suppress(OSError):
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def __reduce__(self) -> tuple[type[Journal], tuple[Path]]:
        return type(self), (self.path,)  # a process that it is sent to opens the file itself

    @classmethod
    def create(cls, folder: Path) -> Journal:
        """Start a journal with a unique name."""
        return cls(folder / f"journal-{uuid.uuid4().hex}.jsonl")

    @property
    def uid(self) -> str:
        """Identity of the run, on every machine and in MLflow."""
        return uid_of(self.path)

    def append(self, kind: str, **fields: Any) -> None:
        """Write one event.

        Raises:
            TrackingError: the disk is full, the file was deleted, or the journal is closed.
        """
        self.write({"k": kind, "t": now_ms(), **fields})

    def write(self, event: dict[str, Any]) -> None:
        """Write one event that has its kind and time.

        Raises:
            TrackingError: the disk is full, the file was deleted, or the journal is closed.
        """
        text = _encode(event).encode("utf-8", "surrogatepass")
        # A line that a full disk cut off must not damage the next one.
        line = b"%b%08x %b\n" % (b"\n" if self._torn else b"", zlib.crc32(text), text)
        descriptor = self._descriptor
        if descriptor == CLOSED:
            raise TrackingError(f"the run has ended: nothing can be added to {self.path}")
        try:
            if os.fstat(descriptor).st_nlink == 0:
                raise TrackingError(
                    f"cannot write {self.path}: it was deleted while the run went on"
                )
            written = os.write(descriptor, line)
        except OSError as error:
            raise TrackingError(f"cannot write {self.path}: {error.strerror}") from error
        self._torn = written != len(line)
        if self._torn:
            raise TrackingError(f"cannot write {self.path}: No space left on device")

    def close(self) -> None:
        """Close the file; a second call changes nothing."""
        descriptor, self._descriptor = self._descriptor, CLOSED
        if descriptor != CLOSED:
            os.close(descriptor)

    def discard(self) -> None:
        """Close and delete the file of a run that could not start."""
        self.close()
        self.path.unlink(missing_ok=True)


class Read(NamedTuple):
    """An event and where it ends in its file, in bytes."""

    event: dict[str, Any]
    end: int


def uid_of(path: Path) -> str:
    """The run's identity, which is part of its journal's name."""
    return path.stem.removeprefix("journal-")


def read_events(
    path: Path, offset: int = 0, on_damage: Callable[[int], None] = lambda end: None
) -> Iterator[Read]:
    """Read whole events from `offset` on; damaged lines are skipped.

    Args:
        path: a journal.
        offset: position in bytes where a line begins.
        on_damage: called with the end of each damaged line.
    """
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return  # the writer is still writing it, or died
            offset += len(line)
            event = _decode(line)
            if event is None:
                on_damage(offset)
            else:
                yield Read(event, offset)


def first_event(path: Path) -> dict[str, Any] | None:
    """The `start` event of a journal; None if there is no journal or the event is damaged."""
    try:
        first = next(read_events(path), None)
    except OSError:
        return None
    return first.event if first is not None and first.event.get("k") == "start" else None


def parent_of(path: Path, start: dict[str, Any]) -> Path | None:
    """The journal of the sweep that a run belongs to; None if it belongs to none.

    Args:
        path: journal of the run.
        start: its first event. The path in it may be that of another place or machine, from where
            the sweep was copied; the folder of a sweep is above those of its runs.
    """
    if not start.get("parent"):
        return None
    recorded = Path(start["parent"])
    places = (folder / recorded.name for folder in path.parent.parents[:2])
    return recorded if recorded.exists() else next(filter(Path.exists, places), recorded)


def has_ended(path: Path) -> bool:
    """Whether the last event of a journal is its `end`; also True if there is no journal."""
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - 200, 0))
            last = file.read().rpartition(b"\n")[0].rpartition(b"\n")[2]
    except OSError:
        return True
    return b'"k":"end"' in last


def is_being_written(path: Path, unknown: bool = True) -> bool:
    """Whether a process has the journal open for writing, on any machine.

    A process that the writer forked counts too.

    Args:
        path: the journal.
        unknown: the answer if there is no such file, or its file system has no locks.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return unknown
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return unknown
    finally:
        os.close(descriptor)
    return False


def _decode(line: bytes) -> dict[str, Any] | None:
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    try:
        if int(checksum, 16) != zlib.crc32(text):
            return None
        event = json.loads(text.decode("utf-8", "surrogatepass"))
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


def journals_in(folder: Path) -> list[Path]:
    """The journals in a run's folder, the earliest first, without those that have no `start`."""
    begun = [(first_event(path), path) for path in folder.glob("journal-*.jsonl")]
    return [path for _, path in sorted((start["t"], path) for start, path in begun if start)]


def attempts_of(journal: Path) -> list[Path]:
    """The journals of the run that a journal belongs to, the earliest first."""
    begun = {path: first_event(path) or {} for path in journals_in(journal.parent)}
    run = begun.get(journal, {}).get("run")
    return [path for path, start in begun.items() if start.get("run") == run]


def recorded_steps(journals: Iterable[Path]) -> frozenset[tuple[str, int]]:
    """Names and steps of the metrics in journals; metrics without a step are left out."""
    found: set[tuple[str, int]] = set()
    for journal in journals:
        for event, _ in read_events(journal):
            if event.get("k") == "metrics" and event["s"] is not None:
                found.update((name, event["s"]) for name in event["m"])
    return frozenset(found)
