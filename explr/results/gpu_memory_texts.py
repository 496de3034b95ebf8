"""The memory of the GPUs in a few words, asked for now and then."""

from __future__ import annotations

import time

from explr.utils.gpu import gpu_memory

EVERY_S = 2.0
"""Seconds between two looks."""


class GpuMemoryTexts:
    """Tells how much memory is taken on each GPU; nothing where there is none."""

    def __init__(self) -> None:
        self._next: float | None = 0.0
        self._texts: list[str] = []

    def read(self) -> list[str]:
        """What is known, at most a moment old: a text for each GPU that tells of its memory."""
        now = time.monotonic()
        if self._next is not None and now >= self._next:
            gpus = gpu_memory()
            self._texts = [
                f"GPU {index} {memory.used_gb:.1f}/{memory.total_gb:.0f} GiB"
                for index, memory in enumerate(gpus)
                if memory is not None
            ]
            self._next = now + EVERY_S if gpus else None  # one that is missing stays so
        return self._texts
