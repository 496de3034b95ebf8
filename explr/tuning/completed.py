"""Intermediate values of the trials that came to their end, by step and in order.

Optuna's pruners go through all trials of a study at each report. A study that one process alone
tells to can keep what they look for instead, so that a report costs the same however many trials
there are.
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
