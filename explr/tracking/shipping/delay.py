"""Pauses between attempts at something that failed."""

from __future__ import annotations

import time
from typing import Protocol

FIRST_S = 0.5
LONGEST_S = 15.0
"""Each pause is twice as long as the one before, between these bounds."""


class Clock(Protocol):
    """What the upload needs of the module `time`; tests have a clock of their own."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment."""
        ...

    def process_time(self) -> float:
        """Seconds of processor time that this process took."""
        ...

    def sleep(self, seconds: float, /) -> None:
        """Wait."""
        ...


class Delay:
    """Says when to try again; each failure in a row doubles the pause.

    Args:
        clock: measures the pause.
    """

    def __init__(self, clock: Clock = time) -> None:
        self._clock = clock
        self._length_s = 0.0
        self._until = 0.0

    @property
    def failed(self) -> bool:
        """Whether the last attempt failed."""
        return self._length_s > 0

    @property
    def over(self) -> bool:
        """Whether the pause is over."""
        return self._clock.monotonic() >= self._until

    def lengthen(self) -> None:
        """Start a pause after a failure."""
        self._length_s = min(max(self._length_s * 2, FIRST_S), LONGEST_S)
        self._until = self._clock.monotonic() + self._length_s

    def clear(self) -> None:
        """End the pause after a success."""
        self._length_s = self._until = 0.0
