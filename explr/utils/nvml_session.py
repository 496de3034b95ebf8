"""NVML, the driver's own library, for as long as something is asked of it."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

LIBRARY = "libnvidia-ml.so.1"


@contextmanager
def nvml_session() -> Iterator[Any]:
    """Python's binding of NVML, initialised; None where there is no driver that can be used."""
    if not has_driver():
        yield None
        return
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield None
        return
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def has_driver() -> bool:
    """Whether the driver's library is there; asked first, since the binding is slow to import."""
    if sys.platform != "linux":
        return True
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return False
    return True
