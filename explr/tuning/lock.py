"""One controller a sweep."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from explr.core.errors import UsageError


@contextmanager
def sole_controller(folder: Path) -> Iterator[None]:
    """Hold the lock of a sweep; the kernel drops it when the process ends, however it does.

    Args:
        folder: folder of the sweep.

    Raises:
        UsageError: another controller holds it; names its process and machine.
    """
    lock = FileLock(folder / "sweep.lock")
    holder = folder / "controller.json"
    try:
        lock.acquire(timeout=0)
    except Timeout:
        who = json.loads(holder.read_text()) if holder.exists() else {"pid": "?", "host": "?"}
        raise UsageError(
            f"the sweep in {folder} is run by process {who['pid']} on {who['host']}: "
            "wait for it, or stop it first"
        ) from None
    try:
        aside = folder / f".controller.json.{os.getpid()}"
        aside.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        aside.replace(holder)
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()
