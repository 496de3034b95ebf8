"""Pauses between attempts at what failed."""

from __future__ import annotations

import time

FIRST_S = 0.5
LONGEST_S = 15.0
"""Each pause is twice as long as the one before, between these bounds."""


class Delay:
    """When to try again."""

    def __init__(self) -> None:
        self._length_s = 0.0
        self._until = 0.0

    @property
    def failed(self) -> bool:
        """Whether the last attempt failed."""
        return self._length_s > 0

    @property
    def over(self) -> bool:
        """Whether it may be tried."""
        return time.monotonic() >= self._until

    def lengthen(self) -> None:
        """It failed again."""
        self._length_s = min(max(self._length_s * 2, FIRST_S), LONGEST_S)
        self._until = time.monotonic() + self._length_s

    def clear(self) -> None:
        """It went well."""
        self._length_s = self._until = 0.0
