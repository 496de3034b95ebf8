"""A trial that is under way: its jobs, one for each replicate, and what they make together."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from explr.tuning.base import Job


@dataclass
class UnderWay:
    """A trial whose jobs run or wait for a slot.

    Args:
        number: number of the trial.
        params: the sampled values by parameter.
        replicates: trainings of the trial; it is their mean.
    """

    number: int
    params: dict[str, Any]
    replicates: int
    told: bool = False
    deaths: int = 0
    _values: dict[int, tuple[float, ...]] = field(default_factory=dict)
    _reports: dict[int, dict[int, float]] = field(default_factory=dict)
    _prune: bool = False

    def job(self, replicate: int, attempt: int, alone: bool = False) -> Job:
        """The training of a replicate."""
        return Job(self.number, replicate, self.replicates, attempt, self.params, alone)

    def report(
        self, replicate: int, step: int, value: float, tell: Callable[[int, int, float], bool]
    ) -> bool:
        """Take in an intermediate value of a replicate; whether it should end.

        Args:
            replicate: number of the replicate.
            step: step of the training.
            value: the objective at that step.
            tell: takes the trial's number, a step and the mean at it once all replicates have
                reported it; whether the trial should end.
        """
        if self.replicates == 1:
            return tell(self.number, step, value)
        there = self._reports.setdefault(step, {})
        there[replicate] = value
        if len(there) == self.replicates:
            self._prune = tell(self.number, step, statistics.fmean(there.values()))
        return self._prune

    def complete(self, replicate: int, values: tuple[float, ...]) -> tuple[float, ...] | None:
        """Take in the values of a replicate that came to its end; those of the trial with the last.

        Args:
            replicate: number of the replicate.
            values: its value for each objective.
        """
        self._values[replicate] = values
        if len(self._values) < self.replicates:
            return None
        return tuple(statistics.fmean(v) for v in zip(*self._values.values(), strict=True))
