"""Which process a file or a folder belongs to, as long as it runs.

A pid alone does not name a process, since the kernel reuses it; with the start time it does.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import sys
import threading
import time
from functools import cache
from pathlib import Path
from typing import IO, ClassVar
from uuid import uuid4

_ENDED = ("Z", "X")
"""States of a process that has ended and whose parent has not asked for it yet: proc(5)."""

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""What a file system without locks says."""

_ATTEMPTS, _PAUSE_S = 10, 0.05
"""Tries before a claim is refused: a holder writes its name just after it has the lock."""


def start_ticks(pid: int) -> int | None:
    """When a process started, in ticks since boot, on Linux; None if there is no such process.

    See proc(5), field 22 of /proc/PID/stat.
    """
    fields = _stat(pid)
    return None if fields is None else int(fields[19])


def own_mark() -> str:
    """A part of a file's name that names this process."""
    return _mark(os.getpid())


def belongs_to_running(name: str) -> bool:
    """Whether a name contains the mark of a process that still runs."""
    found = re.search(r"\.(\d+)-(\d+)(?:[.-]|$)", name)
    if found is None:
        return False
    if sys.platform == "linux":
        fields = _stat(int(found[1]))
        return fields is not None and fields[0] not in _ENDED and fields[19] == found[2]
    try:
        os.kill(int(found[1]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


@cache
def _mark(pid: int) -> str:
    return f"{pid}-{(start_ticks(pid) if sys.platform == 'linux' else None) or 0}"


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the name, which may contain spaces and brackets."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].decode().split()
    except (FileNotFoundError, ProcessLookupError):
        return None


class Claim:
    """The claim of one run on a folder: no other run may write there until this one has ended.

    The kernel gives the claim back when the process ends in any way. A process that is forked or
    unpickled with the claim belongs to the run, and so do the ranks of one distributed training.
    On a file system without locks there are no claims.

    Args:
        file: names the holder; the folder must exist when the claim is made.
        run: what a person knows the run by.
    """

    _held: ClassVar[dict[Path, tuple[int, str, IO[str]]]] = {}
    """Claims of this process: its pid, the id, the open file. A lock of this kind belongs
    to the process: it goes when any descriptor of the file is closed."""
    _guard = threading.Lock()

    def __init__(self, file: Path, run: str) -> None:
        self._file = file
        self._run = run
        self._id = uuid4().hex

    def make(self) -> str | None:
        """Make the claim, if it is not made yet.

        Returns:
            Who has claimed the folder already; None if nobody has.

        Raises:
            OSError: the file cannot be written.
        """
        path = self._file.resolve()
        with self._guard:
            pid, claimed_by, _ = self._held.get(path, (0, "", None))
            if pid == os.getpid():
                own = claimed_by == self._id
                return None if own else f"another run of this process (pid {pid})"
            for attempt in range(_ATTEMPTS):
                if attempt:
                    time.sleep(_PAUSE_S)
                holder = self._try(path)
                if holder is None:
                    break
            return holder

    def _try(self, path: Path) -> str | None:
        file = path.open("a+")
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            with file:
                if error.errno in _NO_LOCKS:
                    return None
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    raise
                file.seek(0)
                key, _, holder = file.read().partition(" ")
                return None if key == self._key else holder or "another run"
        file.truncate(0)
        file.write(f"{self._key} {self._run} (pid {os.getpid()} on {os.uname().nodename})")
        file.flush()
        self._held[path] = (os.getpid(), self._id, file)
        return None

    def give_back(self) -> None:
        """Give the claim back; also if it was not made."""
        path = self._file.resolve()
        with self._guard:
            pid, claimed_by, file = self._held.get(path, (0, "", None))
            if file is not None and (pid, claimed_by) == (os.getpid(), self._id):
                del self._held[path]
                file.close()

    @property
    def _key(self) -> str:
        """The same in all processes of the run; the ranks of a training share an address."""
        address, port = (os.environ.get(f"MASTER_{part}", "") for part in ("ADDR", "PORT"))
        return f"{address}:{port}" if address and port else self._id
