"""The journal of a run: writing events, and finding the journals of earlier attempts."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from explr.core.errors import TrackingError
from explr.tracking.journal.index import PART_BYTES, Appended, Index, Row
from explr.tracking.journal.lines import (
    ENDED,
    ends_a_line,
    is_marked,
    line_of,
    mark,
    metrics_line,
    read_events,
)

CLOSED = -1
"""Stands for a closed descriptor, whose number another file may have soon."""
UNOPENED = -2
"""Stands for the descriptor of a journal that is opened when something is written to it."""

LOOK_EVERY_MS = 100
"""Milliseconds within which it is noticed that the journal was deleted; each look costs a write."""

_of_this_process: WeakValueDictionary[Path, Journal] = WeakValueDictionary()


def now_ms() -> int:
    """Milliseconds since the epoch, which is MLflow's unit for every time."""
    return time.time_ns() // 1_000_000


class Journal:
    """Appends events to one file.

    An event has `k` (its kind), `t` (milliseconds since the epoch) and further fields of its kind.
    Kinds are `start`, `metrics`, `params`, `tags`, `input`, `artifact`, `model`, `register` and
    `end`.

    Several processes may write one journal: a fork has it open, and a process that it is sent to
    opens it by its path.

    Args:
        path: the file; its folder must exist.

    Raises:
        TrackingError: the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._set_up(path)
        self._owner = os.getpid()
        self._open(os.O_CREAT)
        # Held while the writer lives; see `is_being_written`. Some file systems have no locks.
        with suppress(OSError):
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _set_up(self, path: Path) -> None:
        self.path = path
        self._descriptor = UNOPENED
        self._torn = False
        self._owner = -1
        self._end = self._looked_ms = 0
        self._index = Index(path)
        self._appended = Appended(0)
        _of_this_process[path] = self

    def __reduce__(self) -> tuple[Callable[[Path], Journal], tuple[Path]]:
        return reopened, (self.path,)

    def __del__(self) -> None:
        self.close()

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
            TrackingError: the disk is full, the file was deleted, or the run has ended.
        """
        self.write({"k": kind, "t": now_ms(), **fields})

    def write(self, event: dict[str, Any]) -> None:
        """Write one event that has its kind and time.

        Raises:
            TrackingError: the disk is full, the file was deleted, or the run has ended.
        """
        step = event["s"] if event["k"] == "metrics" else None
        row = None if step is None else (step, *event.get("m", ()))
        if self._write(line_of(event), row) and event["k"] != "end":
            self._go_on()

    def write_metrics(self, time: int, step: int | None, values: Mapping[str, float]) -> None:
        """Write metrics, in half the time that `write` takes.

        Args:
            time: milliseconds since the epoch.
            step: their step; None if they have none.
            values: their values by name, at least one.

        Raises:
            TrackingError: the disk is full, the file was deleted, or the run has ended.
        """
        row = None if step is None else (step, *values)
        if self._write(metrics_line(time, step, values), row, time):
            self._go_on()

    def _write(self, line: bytes, row: Row | None, time: int | None = None) -> bool:
        """Write a line.

        Args:
            line: the line.
            row: the step and the names of metrics that have one.
            time: milliseconds since the epoch; None if the file is looked at in any case.

        Returns:
            Whether the run has ended, possibly before the line.

        Raises:
            TrackingError: the disk is full, or the file was deleted.
        """
        if self._torn:  # a line that a full disk cut off must not damage the next one
            line = b"\n" + line
        if self._descriptor < 0:
            self._open()
        appended, descriptor, state = self._appended, self._descriptor, None
        try:
            written = os.write(descriptor, line)
            self._torn = written != len(line)
            if self._torn:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            counted = appended.add(row, written)
            end = os.lseek(descriptor, 0, os.SEEK_CUR)
            # If the line follows this process's last one, no `end` of the run is between them. To
            # ask for the state makes the write after it twice as slow: Linux has to note its time.
            follows = end == self._end + written
            if time is None or not follows or not 0 <= time - self._looked_ms < LOOK_EVERY_MS:
                state = os.fstat(descriptor)
                self._looked_ms = time or 0
        except OSError as error:
            if self._descriptor == CLOSED:  # by another thread
                raise self._has_ended() from error
            raise TrackingError(f"cannot write {self.path}: {error.strerror}") from error
        self._end = end
        if end - self._index.covered > PART_BYTES:
            self._appended = self._index.extend(appended, counted, end)
        if state is None:
            return False
        if state.st_nlink == 0:
            raise TrackingError(f"cannot write {self.path}: it was deleted while the run went on")
        # Looked at after writing: where the bit is not set, the event came before the run's end.
        return bool(state.st_mode & ENDED)

    def end(self, status: str) -> None:
        """Write the last event, and close; no process can add to this journal afterwards.

        Args:
            status: how the run ended.

        Raises:
            TrackingError: the event cannot be written.
        """
        mark(self.path)
        try:
            self.append("end", status=status)
        finally:
            self.close()

    def close(self) -> None:
        """Close the file; a second call changes nothing."""
        descriptor, self._descriptor = self._descriptor, CLOSED
        if descriptor >= 0:
            os.close(descriptor)

    def discard(self) -> None:
        """Close and delete the file of a run that could not start."""
        self.close()
        self.path.unlink(missing_ok=True)

    def _open(self, flags: int = 0) -> None:
        if self._descriptor == CLOSED:
            raise self._has_ended()
        try:
            self._descriptor = os.open(
                self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | flags, 0o600
            )
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not flags:
                raise self.missing() from error
            raise TrackingError(f"no journal at {self.path}: {error.strerror}") from error
        self._appended = Appended(os.fstat(self._descriptor).st_size)

    def _go_on(self) -> None:
        """Go on although the run has ended, if it was ended because this process seemed dead."""
        if os.getpid() != self._owner:
            self.close()
            raise self._has_ended()
        mark(self.path, ended=False)

    def missing(self) -> TrackingError:
        """What a process is told that was sent a journal which is not there."""
        return TrackingError(
            f"no journal at {self.path}: it was deleted, or this machine ({socket.gethostname()}) "
            "is not that of the training, and the run's folder is not on a file system that both "
            "share. Let this process return its values, and log them in the training"
        )

    def _has_ended(self) -> TrackingError:
        return TrackingError(f"the run has ended: nothing can be added to {self.path}")


def reopened(path: Path) -> Journal:
    """The journal of a run for a process that the run's training has sent it to.

    It is opened when something is written to it. All trackers of a process share it.

    Args:
        path: the file.
    """
    journal = _of_this_process.get(path)
    if journal is None:
        journal = Journal.__new__(Journal)
        journal._set_up(path)
    return journal


def end_as_killed(path: Path) -> None:
    """End the journal of a training that died before it did, as `Journal.end` does.

    Args:
        path: the file.

    Raises:
        OSError: it cannot be written.
    """
    # The clock of file times may be some milliseconds behind that of the events.
    begun_ms = (first_event(path) or {}).get("t", 0)
    written_ms = path.stat().st_mtime_ns // 1_000_000
    mark(path)
    line = line_of({"k": "end", "t": max(written_ms, begun_ms), "status": "KILLED"})
    with path.open("ab") as file:
        file.write(line if ends_a_line(path, file.tell()) else b"\n" + line)


def uid_of(path: Path) -> str:
    """The run's identity, which is part of its journal's name."""
    return path.stem.removeprefix("journal-")


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
    """Whether a journal has its last event; also True if there is no journal."""
    try:
        if is_marked(path):
            return True
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


def journals_in(folder: Path) -> list[Path]:
    """The journals in a run's folder, the earliest first, without those that have no `start`."""
    begun = [(first_event(path), path) for path in folder.glob("journal-*.jsonl")]
    return [path for _, path in sorted((start["t"], path) for start, path in begun if start)]


def attempts_of(journal: Path) -> list[Path]:
    """The journals of the run that a journal belongs to, the earliest first."""
    begun = {path: first_event(path) or {} for path in journals_in(journal.parent)}
    run = begun.get(journal, {}).get("run")
    return [path for path, start in begun.items() if start.get("run") == run]
