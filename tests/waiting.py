"""Waits for conditions and for the end of processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psutil

PATIENCE_S = 90.0
"""How long something that must happen may take on a busy machine."""

HANG_S = 600.0
"""The same of what starts Ray and its workers, minutes on a busy machine: only a hang lasts so."""


SHARE = 0.1
"""Of the time that it waits, what the asking may take: the machine is for what is waited for."""


def wait_until(
    condition: Callable[[], Any], patience_s: float = PATIENCE_S, what: str = "it"
) -> Any:
    """Wait for something that must happen; what `condition` gives as soon as it gives anything."""
    asked = time.monotonic()
    deadline = asked + patience_s
    while not (answer := condition()):
        answered = time.monotonic()
        assert answered < deadline, f"{what} never came true"
        time.sleep(min(max(0.01, (answered - asked) / SHARE), 1))
        asked = time.monotonic()
    return answer


def runs(process: psutil.Process | int) -> bool:
    """Whether a process, or the one of a number, is there, and no zombie."""
    try:
        seen = psutil.Process(process) if isinstance(process, int) else process
        return seen.is_running() and seen.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
