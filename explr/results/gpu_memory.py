"""The memory of the GPUs in a few words, asked for now and then."""

from __future__ import annotations

import time

from explr.utils.nvml import Driver, read_driver

EVERY_S = 2.0
"""Seconds between two looks."""


class GpuMemory:
    """Tells how much memory is taken on each GPU; nothing where there is none."""

    def __init__(self) -> None:
        self._next: float | None = 0.0
        self._texts: list[str] = []

    def read(self) -> list[str]:
        """What is known, at most a moment old: a text for each GPU."""
        now = time.monotonic()
        if self._next is not None and now >= self._next:
            driver = read_driver()
            self._texts = texts_of(driver)
            self._next = now + EVERY_S if driver.gpus else None  # one that is missing stays so
        return self._texts


def texts_of(driver: Driver) -> list[str]:
    """A text for each GPU that tells of its memory."""
    return [
        f"GPU {gpu.index} {gpu.memory_used_gb:.1f}/{gpu.memory_total_gb:.0f} GiB"
        for gpu in driver.gpus
        if gpu.memory_used_gb is not None and gpu.memory_total_gb is not None
    ]
