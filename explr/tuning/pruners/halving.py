"""Asynchronous successive halving, as Optuna's, for trainings that number their steps freely."""

from __future__ import annotations

import math
from bisect import insort
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from optuna import pruners
from optuna.study import StudyDirection

from explr.tuning.completed import has_one_writer
from explr.tuning.optuna_private import note_rung, rungs_of

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

Rungs = dict[int, list[float]]
"""By rung, the values that trials have shown there, in ascending order."""

_kept: WeakKeyDictionary[Study, Rungs] = WeakKeyDictionary()


class SuccessiveHalvingPruner(pruners.SuccessiveHalvingPruner):
    """Prunes a trial that is not in the best part of those that have come as far.

    It decides as Optuna's pruner does, with two differences. It counts what a trial has reported
    before, as Ray Tune does, and not in steps: steps of a training that reports each thousandth
    batch would pass several rungs at the first report, at each of which only the best part
    continues. And it reads the trials of a study with one writer once, so that the cost of a
    report does not grow with their number.

    Args:
        min_resource: reports before that at the first rung.
        reduction_factor: one trial in this many continues at each rung.
    """

    def __init__(self, min_resource: int, reduction_factor: int) -> None:
        super().__init__(min_resource, reduction_factor)
        self._first, self._factor = min_resource, reduction_factor

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether to prune the trial."""
        step = trial.last_step
        if step is None:
            return False
        value, before = trial.intermediate_values[step], len(trial.intermediate_values) - 1
        rung = len(rungs_of(trial))
        while before >= self._first * self._factor**rung:
            if math.isnan(value):
                return True
            values = _rungs(study).setdefault(rung, [])
            note_rung(study, trial, rung, value)
            insort(values, value)
            last = max(len(values) // self._factor, 1)
            if study.direction == StudyDirection.MAXIMIZE:
                continues = value >= values[-last]
            else:
                continues = value <= values[last - 1]
            if not continues:
                return True
            rung += 1
        return False


def _rungs(study: Study) -> Rungs:
    """What the trials of a study have shown at the rungs."""
    if (found := _kept.get(study)) is not None:
        return found
    found = {}
    for trial in study.get_trials(deepcopy=False):
        for rung, value in rungs_of(trial).items():
            found.setdefault(rung, []).append(value)
    for values in found.values():
        values.sort()
    if has_one_writer(study):
        _kept[study] = found
    return found
