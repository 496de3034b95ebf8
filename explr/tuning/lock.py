"""Makes sure that a sweep has one controller."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import Timeout

from explr.core.errors import UsageError
from explr.core.folders import replace_file
from explr.utils.lock import file_lock, lock_file

LOCK_FILE = "sweep.lock"
"""File of a sweep's folder: its lock."""

HOLDER_FILE = "controller.json"
"""File of a sweep's folder, while its lock is held: by whom."""


@contextmanager
def sole_controller(folder: Path, what: str | None = None) -> Iterator[None]:
    """Hold the lock of a sweep; the kernel releases it when the process ends in any way.

    Args:
        folder: folder of the sweep, which contains the lock.
        what: name of the locked thing in messages; None is the sweep in `folder`.

    Raises:
        UsageError: another controller holds it; names its process and machine. Or the folder
            cannot be locked.
    """
    path, holder = folder / LOCK_FILE, folder / HOLDER_FILE
    what = what or f"the sweep in {folder}"
    try:
        lock = file_lock(path, 0)
        lock.acquire()
    except Timeout:
        raise UsageError(
            f"{what} is run by {_who(holder)}: wait for it, or stop it first; if it is gone with "
            f"its machine, delete {lock_file(path)}"
        ) from None
    except OSError as error:
        raise UsageError(f"{what} cannot be locked: {path}: {error.strerror or error}") from error
    try:
        replace_file(holder, {"pid": os.getpid(), "host": socket.gethostname()}, private=False)
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _who(holder: Path) -> str:
    try:
        who = json.loads(holder.read_bytes())
        return f"process {who['pid']} on {who['host']}"
    except (OSError, ValueError, KeyError, TypeError):  # it has just started, or ended
        return "another process"
