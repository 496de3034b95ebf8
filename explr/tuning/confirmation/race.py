"""Compares the best trials of a search by trainings with fresh seeds.

The value that made a trial the best of many is too good: it was chosen for it. Only trainings that
played no part in that choice say how good its parameters are, and which trials differ at all.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

LEVEL = 0.95
"""Confidence of the intervals, and with which no better trial than the winner is ruled out."""

MIN_FRESH = 2
"""Trainings of each trial before trials are compared; the fewest that show how much they vary."""


@dataclass(frozen=True)
class Standing:
    """How a trial does with fresh seeds.

    Args:
        number: number of the trial.
        mean: mean of its fresh trainings.
        low: a further training lies above this with the confidence `LEVEL`...
        high: ...and below this; both None if the variation is unknown.
        trainings: number of its fresh trainings.
        tied: it cannot be told apart from the best.
    """

    number: int
    mean: float
    low: float | None
    high: float | None
    trainings: int
    tied: bool


class Race:
    """A race between trials, from which those that cannot win drop out.

    All fresh trainings have seeds of their own, so that their values are independent. After each
    round, which is one more training of each trial that is left, a trial drops out if its mean is
    worse than the best one by a t-test with the variance pooled over all trials. The tests share
    the error of 1 - `LEVEL` (Bonferroni): equally among the trials, and among the rounds in parts
    of 6 / (pi * round)^2, which add up to one for any number of rounds. Compare Hsu (1984),
    Constrained Simultaneous Confidence Intervals for Multiple Comparisons with the Best.

    Args:
        fresh: values of the fresh trainings in their order, by trial; the best of the search first.
        minimize: whether smaller values are better.
    """

    def __init__(self, fresh: Mapping[int, Sequence[float]], minimize: bool) -> None:
        self._fresh = fresh
        self._sign = 1 if minimize else -1
        self.left = list(fresh)
        """Numbers of the trials that have not dropped out."""
        for compared in range(MIN_FRESH, max(map(len, fresh.values()), default=0) + 1):
            if len(self.left) < 2 or min(len(fresh[number]) for number in self.left) < compared:
                break
            self._drop(compared)

    @property
    def winner(self) -> int | None:
        """The only trial that is left, if the others were compared with it."""
        return self.left[0] if len(self.left) == 1 < len(self._fresh) else None

    def standings(self) -> list[Standing]:
        """How each trial does that has a fresh training, the best first."""
        found = [self._standing(number) for number, values in self._fresh.items() if values]
        return sorted(found, key=lambda each: (not each.tied, self._sign * each.mean))

    def _drop(self, compared: int) -> None:
        from scipy.stats import t as student

        values = {number: self._fresh[number][:compared] for number in self._fresh}
        deviation, freedom = _pooled(values.values())
        means = {number: self._sign * statistics.fmean(values[number]) for number in self.left}
        best = min(means.values())
        part = 6 / (math.pi * (compared - MIN_FRESH + 1)) ** 2
        error = (1 - LEVEL) * part / (len(self._fresh) - 1)
        least = float(student.isf(error, freedom)) * deviation * math.sqrt(2 / compared)
        self.left = [number for number in self.left if means[number] - best <= least]

    def _standing(self, number: int) -> Standing:
        from scipy.stats import t as student

        values = self._fresh[number]
        mean, low, high = statistics.fmean(values), None, None
        deviation, freedom = _pooled(self._fresh.values())
        if freedom:
            own = statistics.stdev(values) if len(values) > 1 else 0.0
            # The larger one: a trial may vary more than the others.
            spread = max(own, deviation) * math.sqrt(1 + 1 / len(values))
            reach = float(student.isf((1 - LEVEL) / 2, freedom)) * spread
            low, high = mean - reach, mean + reach
        return Standing(number, mean, low, high, len(values), number in self.left)


def _pooled(groups: Iterable[Sequence[float]]) -> tuple[float, int]:
    """The standard deviation within groups of values, and its degrees of freedom."""
    several = [list(each) for each in groups if len(each) > 1]
    freedom = sum(len(each) - 1 for each in several)
    if not freedom:
        return 0.0, 0
    squares = sum(statistics.variance(each) * (len(each) - 1) for each in several)
    return math.sqrt(squares / freedom), freedom
