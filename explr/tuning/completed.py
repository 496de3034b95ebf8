"""Sorted intermediate values of completed trials, by step.

Optuna's pruners read all trials of a study at each report. A study with one writer can keep these
values instead, so that the cost of a report does not grow with the number of trials.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from optuna import Study


@dataclass
class ValuesAtStep:
    """What completed trials reported at one step.

    Args:
        count: number of trials that reported a value.
        ordered: the values without NaN, in ascending order.
    """

    count: int = 0
    ordered: list[float] = field(default_factory=list)

    def add(self, value: float) -> None:
        """Add a value."""
        self.count += 1
        if not math.isnan(value):
            insort(self.ordered, value)

    def percentile(self, percent: float) -> float:
        """The percentile of the values; NaN if there is no value.

        Interpolates linearly, bit for bit as `numpy.nanpercentile` does.
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
    """The completed trials of a study.

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
        """What the trials reported at a step."""
        found = self._steps.get(step)
        if found is None:
            found = self._steps[step] = ValuesAtStep()
        return found

    def add(self, values: Mapping[int, float]) -> None:
        """Add a trial, given what it reported at each step."""
        self.count += 1
        for step, value in values.items():
            self.at(step).add(value)


_kept: WeakKeyDictionary[Study, Completed | None] = WeakKeyDictionary()


def keep(study: Study) -> None:
    """Cache the completed trials of a study; its writer calls `note_complete` for each new one."""
    _kept[study] = None


def has_one_writer(study: Study) -> bool:
    """Whether `keep` was called for a study."""
    return study in _kept


def note_complete(study: Study, values: Mapping[int, float]) -> None:
    """Add a completed trial of a study, given what it reported at each step."""
    completed = _kept[study]
    if completed is not None:
        completed.add(values)


def completed_of(study: Study) -> Completed | None:
    """The completed trials of a study; None if `keep` was not called for it."""
    if not has_one_writer(study):
        return None
    completed = _kept[study]
    if completed is None:
        completed = _kept[study] = Completed(study)
    return completed
