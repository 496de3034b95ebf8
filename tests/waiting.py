"""Waits for conditions and for the end of processes."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil

PATIENCE_S = 90.0
"""How long something that must happen may take on a busy machine."""


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for something that must happen."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def runs(process: psutil.Process | int) -> bool:
    """Whether a process, or the one of a number, is there, and no zombie."""
    try:
        seen = psutil.Process(process) if isinstance(process, int) else process
        return seen.is_running() and seen.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
