"""How a process that waits for an upload says so to the one that uploads."""

from __future__ import annotations

import fcntl
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from explr.core.secrets import without_user_info
from explr.tracking.home import explr_home


def mirror_name(uri: str) -> str:
    """How the names of the files begin by which the uploads to a sink are arranged.

    Args:
        uri: address of the sink.
    """
    return f"mirror-{zlib.crc32(without_user_info(uri).encode()):08x}"


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
    return explr_home() / f"{mirror_name(uri)}.awaited"
