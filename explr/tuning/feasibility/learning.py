"""Lets any sampler of Optuna's learn from failed trials, which Optuna ignores.

A trial that failed by its parameters is shown to the sampler as a complete one: with the worst
value so far, and with a violated constraint. The study itself keeps it as failed.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Sequence
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import (
    BaseSampler,
    BruteForceSampler,
    CmaEsSampler,
    GridSampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import FrozenTrial, TrialState

from explr.tuning.feasibility.failure import FAILURE, Failure
from explr.tuning.grid import Grid
from explr.tuning.optuna_private import with_trials

FAILED = "explr.failed"
"""The constraint that a failed trial violates."""

WEIGHT = 3
"""How often TPE is shown a failed trial: shown once, it still draws a third of its trials there."""

LEAST = 10
"""Number of ended trials from which it is shown so often: TPE samples the first ones at random."""

UNTAUGHT = (Grid, GridSampler, QMCSampler, RandomSampler, BruteForceSampler)
"""Samplers that look at no values."""


def taught(sampler: BaseSampler, constraints: Sequence[str] = ()) -> BaseSampler:
    """A sampler that learns from failed trials too; the same one if it looks at no values.

    Args:
        sampler: the sampler.
        constraints: names of the metrics that have a constraint.
    """
    is_taught = isinstance(sampler, (*UNTAUGHT, Taught))
    return sampler if is_taught else Taught(sampler, constraints)


class Taught(BaseSampler):
    """Shows the failed trials of a study to a sampler.

    Args:
        sampler: the sampler, which may have any class.
        constraints: names of the metrics that have a constraint.
    """

    def __init__(self, sampler: BaseSampler, constraints: Sequence[str] = ()) -> None:
        self._sampler = sampler
        self._constraints = constraints
        self._ignores_constraints = isinstance(sampler, CmaEsSampler)
        self._weight = WEIGHT if isinstance(sampler, TPESampler) else 1
        self._ended: dict[int, FrozenTrial] = {}
        self._failed: set[int] = set()
        self._of_worst_value: set[int] = set()
        self._worst: dict[int, float] = {}

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """See `BaseSampler.infer_relative_search_space`."""
        return self._sampler.infer_relative_search_space(self._view(study), trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """See `BaseSampler.sample_relative`."""
        return self._sampler.sample_relative(self._view(study), trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """See `BaseSampler.sample_independent`."""
        return self._sampler.sample_independent(
            self._view(study), trial, param_name, param_distribution
        )

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """See `BaseSampler.before_trial`."""
        self._sampler.before_trial(self._view(study), trial)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """See `BaseSampler.after_trial`."""
        with warnings.catch_warnings():
            if self._ignores_constraints:  # and says so for each trial
                warnings.simplefilter("ignore", UserWarning)
            self._sampler.after_trial(self._view(study), trial, state, values)

    def reseed_rng(self) -> None:
        """See `BaseSampler.reseed_rng`."""
        self._sampler.reseed_rng()

    def _view(self, study: Study) -> Study:
        return with_trials(study, lambda trials: self._taught(study, trials))

    def _taught(self, study: Study, trials: Sequence[FrozenTrial]) -> Sequence[FrozenTrial]:
        """The trials as the sampler sees them."""
        for trial in trials:
            if trial.number not in self._ended and trial.state.is_finished():
                self._take_in(study, trial)
        if not self._failed and not self._constraints:
            return trials
        weight = self._weight if len(self._ended) >= LEAST else 1
        found = []
        for trial in trials:
            shown = self._ended.get(trial.number, trial)
            found += [shown] * (weight if trial.number in self._failed else 1)
        return found

    def _take_in(self, study: Study, trial: FrozenTrial) -> None:
        """Copy an ended trial, with the constraint: a Gaussian process needs it of each trial."""
        shown = self._ended[trial.number] = copy.copy(trial)
        shown.system_attrs = dict(trial.system_attrs)
        is_failed = has_failed(trial)
        for name in self._constraints:  # of a trial that did not complete, or of an older sweep
            if name not in trial.constraints:
                shown.set_constraint(name, 1.0 if is_failed else 0.0)
        shown.set_constraint(FAILED, 1.0 if is_failed else -1.0)
        if is_failed:
            shown.state = TrialState.COMPLETE
            self._failed.add(trial.number)
            self._of_worst_value.add(trial.number)
        elif trial.state is TrialState.COMPLETE:
            for place, (value, direction) in enumerate(
                zip(trial.values, study.directions, strict=True)
            ):
                if math.isfinite(value):
                    worse = max if direction.name == "MINIMIZE" else min
                    self._worst[place] = worse(value, self._worst.get(place, value))
            if self._ignores_constraints and any(each > 0 for each in trial.constraints.values()):
                self._of_worst_value.add(trial.number)
        worst = [self._worst.get(place, 0.0) for place in range(len(study.directions))]
        for number in self._of_worst_value:
            self._ended[number].values = worst


def has_failed(trial: FrozenTrial) -> bool:
    """Whether a trial failed by its parameters, and not by an accident."""
    if trial.state is not TrialState.FAIL or FAILURE not in trial.user_attrs:
        return False
    return not Failure(trial.user_attrs[FAILURE]).is_accident
