"""How many trials of a sweep failed, and when that is too many."""

from __future__ import annotations

from explr.core.errors import SweepError
from explr.tuning.base import Outcome

FROM = 5
"""Trials that have ended before the part of failed ones is looked at."""


class Failures:
    """Counts the trials that failed among those that ended.

    Args:
        max_rate: part of them that may fail.
    """

    def __init__(self, max_rate: float) -> None:
        self._max_rate = max_rate
        self._ended = self._failed = 0
        self.first: Outcome | None = None

    def count(self, outcome: Outcome) -> None:
        """Take in how a trial ended."""
        self._ended += 1
        if outcome.state == "FAIL":
            self._failed += 1
            self.first = self.first or outcome

    def too_many(self) -> SweepError | None:
        """What is to be raised if more failed than may."""
        if self.first is None or self._ended < FROM or self._failed <= self._max_rate * self._ended:
            return None
        return after_first(
            self.first,
            f"{self._failed} of {self._ended} trials failed, more than "
            f"tuner.max_failure_rate={self._max_rate:g} allows",
        )


def after_first(failure: Outcome, sentence: str) -> SweepError:
    """An error that shows the first failure of a sweep, and then says what follows from it.

    Args:
        failure: how the first trial that failed did so.
        sentence: what follows.
    """
    shown = (failure.detail or failure.reason).rstrip()
    return SweepError(f"{shown}\n{sentence}, the first with this")
