"""Who uploads to a sink, and how a process that waits for the upload says so."""

from __future__ import annotations

import fcntl
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from explr.core.secrets.shapes import without_user_info
from explr.tracking.home import explr_home


def upload_lock(uri: str) -> Path:
    """The lock that the process which uploads to a sink holds.

    Args:
        uri: address of the sink.
    """
    return explr_home() / f"mirror-{zlib.crc32(without_user_info(uri).encode()):08x}.lock"


@contextmanager
def awaiting(uri: str) -> Iterator[None]:
    """Say within the block that this process waits for the upload to a sink.

    Args:
        uri: address of the sink.
    """
    descriptor = os.open(_file(uri), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with suppress(OSError):  # without locks, the upload is only slower
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def is_awaited(uri: str) -> bool:
    """Whether a process waits for the upload to a sink.

    Args:
        uri: address of the sink.
    """
    try:
        descriptor = os.open(_file(uri), os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # nobody has waited yet
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # the file system has no locks
        return False
    finally:
        os.close(descriptor)
    return False


def _file(uri: str) -> Path:
    return upload_lock(uri).with_suffix(".awaited")
