"""Optuna's successive halving for trainings that number their steps as they like."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

from optuna import pruners

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial


class SuccessiveHalvingPruner(pruners.SuccessiveHalvingPruner):
    """Prunes a trial that is not in the best part of those that have come as far.

    It counts what a trial has reported before, as Ray Tune does, and not in steps. Steps of a
    training that reports each thousandth batch would pass several rungs at the first report, at
    each of which only the best part continues.

    Args:
        min_resource: reports before that at the first rung.
        reduction_factor: one trial in this many continues at each rung.
    """

    def __init__(self, min_resource: int, reduction_factor: int) -> None:
        super().__init__(min_resource, reduction_factor)

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether to prune the trial."""
        counted = copy(trial)
        values = trial.intermediate_values
        counted.intermediate_values = {
            place: values[step] for place, step in enumerate(sorted(values))
        }
        return super().prune(study, counted)
