"""NVML, the driver's own library, for as long as something is asked of it."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

LIBRARY = "libnvidia-ml.so.1"


@contextmanager
def opened_nvml() -> Iterator[Any]:
    """Python's binding of NVML, initialised.

    Raises:
        pynvml.NVMLError: there is no driver that can be used.
    """
    import pynvml

    pynvml.nvmlInit()
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


@contextmanager
def nvml_session() -> Iterator[Any]:
    """Python's binding of NVML, initialised; None where there is no driver that can be used."""
    if not has_driver():
        yield None
        return
    import pynvml

    nvml = None
    with ExitStack() as session:
        with suppress(pynvml.NVMLError):
            nvml = session.enter_context(opened_nvml())
        yield nvml


def has_driver() -> bool:
    """Whether the driver's library is there; asked first, since the binding is slow to import."""
    if sys.platform != "linux":
        return True
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return False
    return True
