"""Locks between processes, also on a file system that has none of its own."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock


NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""What a file system without locks says, such as NFS or Lustre mounted without them."""

MARK = ".held"
"""What the name of a lock ends with there: a file that exists while the lock is held."""

RESULTS_LOCK = "results.lock"
"""File of a sweep's folder: the lock of `results.json`."""

LOCK_TIMEOUT_S = 60.0
"""Seconds to wait for that lock, which is held for one at most."""

_can_lock: dict[int, bool] = {}


def file_lock(path: Path, timeout_s: float = -1) -> BaseFileLock:
    """A lock that other processes see; the kernel releases it when its holder ends in any way.

    Only this user may open its file: anybody who may could hold the lock.

    On a file system without locks it is a file that names its holder. If the holder was killed,
    another process of its machine takes the lock over; on another machine, someone must delete it.

    Args:
        path: file of the lock; its folder must exist.
        timeout_s: seconds to wait for another holder; a negative number waits without end.
    """
    from filelock import FileLock, SoftFileLock

    # The file of a lock of the kernel may stay when nobody holds it, that of the other must not.
    kind = FileLock if has_locks(path.parent) else SoftFileLock
    return kind(lock_file(path), timeout_s, mode=0o600)


def lock_file(path: Path) -> Path:
    """The file that `file_lock(path)` makes."""
    return path if has_locks(path.parent) else path.with_name(f"{path.name}{MARK}")


def has_locks(folder: Path) -> bool:
    """Whether the file system of a folder has locks; each one is asked once."""
    device = os.stat(folder).st_dev
    if device not in _can_lock:
        with tempfile.TemporaryFile(dir=folder) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
                _can_lock[device] = False
            else:
                _can_lock[device] = True
    return _can_lock[device]


@contextmanager
def results_locked(sweep: Path) -> Iterator[None]:
    """Hold the lock of a sweep's `results.json`, to which the sweep and uploads both write.

    Args:
        sweep: folder of the sweep.

    Raises:
        OSError: the folder cannot be written, or another process holds the lock too long.
    """
    with file_lock(sweep / RESULTS_LOCK, LOCK_TIMEOUT_S):
        yield
