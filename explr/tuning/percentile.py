"""Optuna's percentile and median pruners, at a cost that does not grow with the study.

They decide as Optuna's own do, from values that are kept in order rather than gathered from all
trials at each report. In a study that is not explr's they are Optuna's own.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from optuna import pruners
from optuna.study import StudyDirection

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial


@dataclass
class ValuesAtStep:
    """What the trials that came to their end reported at one step.

    Args:
        count: how many of them reported a value.
        ordered: the values that are numbers, from the smallest.
    """

    count: int = 0
    ordered: list[float] = field(default_factory=list)

    def add(self, value: float) -> None:
        """Take in one more value."""
        self.count += 1
        if not math.isnan(value):
            insort(self.ordered, value)

    def percentile(self, percent: float) -> float:
        """The value that `percent` of them do not exceed; NaN if there is none.

        Interpolated between two neighbours as `numpy.nanpercentile` does, to the last bit.
        """
        if not self.ordered:
            return math.nan
        last = len(self.ordered) - 1
        position = last * (percent / 100)
        below = min(int(position), last)
        low, high = self.ordered[below], self.ordered[min(below + 1, last)]
        part = position - below
        if part >= 0.5:
            return high - (high - low) * (1 - part)
        return low + (high - low) * part


class Completed:
    """The trials of a study that came to their end.

    Args:
        study: the study, which is read once.
    """

    def __init__(self, study: Study) -> None:
        from optuna.trial import TrialState

        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        self.count = len(trials)
        self._steps: dict[int, ValuesAtStep] = {}
        for trial in trials:
            for step, value in trial.intermediate_values.items():
                at = self.at(step)
                at.count += 1
                if not math.isnan(value):
                    at.ordered.append(value)
        for at in self._steps.values():
            at.ordered.sort()

    def at(self, step: int) -> ValuesAtStep:
        """What they reported at a step."""
        return self._steps.setdefault(step, ValuesAtStep())

    def add(self, values: Mapping[int, float]) -> None:
        """Take in one more trial, by what it reported at each step."""
        self.count += 1
        for step, value in values.items():
            self.at(step).add(value)


_kept: WeakKeyDictionary[Study, Completed | None] = WeakKeyDictionary()


def keep(study: Study) -> None:
    """Promise that whoever tells this study of a trial's end tells `note_complete` too."""
    _kept[study] = None


def note_complete(study: Study, values: Mapping[int, float]) -> None:
    """Take in that a trial of a study came to its end, by what it reported at each step."""
    completed = _kept[study]
    if completed is not None:
        completed.add(values)


def completed_of(study: Study) -> Completed | None:
    """The trials of a study that came to their end; None if nobody keeps them."""
    if study not in _kept:
        return None
    completed = _kept[study]
    if completed is None:
        completed = _kept[study] = Completed(study)
    return completed


class PercentilePruner(pruners.PercentilePruner):
    """Ends a trial whose best value is not among the best `percentile` at the same step.

    Args:
        percentile: part of the trials that goes on, in percent.
        n_startup_trials: trials that run to their end before any is pruned.
        n_warmup_steps: steps that every trial gets.
        interval_steps: steps between two looks at a trial, from the warm-up on.
        n_min_trials: trials that must have reported a step before it is looked at.
    """

    def __init__(
        self,
        percentile: float,
        n_startup_trials: int = 5,
        n_warmup_steps: int = 0,
        interval_steps: int = 1,
        *,
        n_min_trials: int = 1,
    ) -> None:
        super().__init__(
            percentile, n_startup_trials, n_warmup_steps, interval_steps, n_min_trials=n_min_trials
        )
        self._percent = percentile
        self._startup = max(1, n_startup_trials)
        self._warmup = n_warmup_steps
        self._interval = interval_steps
        self._enough = n_min_trials

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether the trial should end."""
        completed = completed_of(study)
        if completed is None:
            return super().prune(study, trial)
        step = trial.last_step
        if step is None or completed.count < self._startup or step < self._warmup:
            return False
        since = step - (step - self._warmup) % self._interval
        if any(since <= other != step for other in trial.intermediate_values):
            return False  # looked at before, in the same interval
        numbers = [value for value in trial.intermediate_values.values() if not math.isnan(value)]
        if not numbers:
            return True
        there = completed.at(step)
        if there.count < self._enough:
            return False
        if study.direction is StudyDirection.MAXIMIZE:
            return max(numbers) < there.percentile(100 - self._percent)
        return min(numbers) > there.percentile(self._percent)


class MedianPruner(PercentilePruner):
    """Ends a trial whose best value is worse than the median at the same step.

    Args:
        n_startup_trials: trials that run to their end before any is pruned.
        n_warmup_steps: steps that every trial gets.
        interval_steps: steps between two looks at a trial, from the warm-up on.
        n_min_trials: trials that must have reported a step before it is looked at.
    """

    def __init__(
        self,
        n_startup_trials: int = 5,
        n_warmup_steps: int = 0,
        interval_steps: int = 1,
        *,
        n_min_trials: int = 1,
    ) -> None:
        super().__init__(
            50.0, n_startup_trials, n_warmup_steps, interval_steps, n_min_trials=n_min_trials
        )
