"""Lets any sampler of Optuna's learn from failed trials, which Optuna ignores.

A trial that failed by its parameters is shown to the sampler as a complete one: with the worst
value so far, and with a violated constraint. The study itself keeps it as failed.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import (
    BaseSampler,
    BruteForceSampler,
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


def taught(sampler: BaseSampler) -> BaseSampler:
    """A sampler that learns from failed trials too; the same one if it looks at no values."""
    return sampler if isinstance(sampler, (*UNTAUGHT, Taught)) else Taught(sampler)


class Taught(BaseSampler):
    """Shows the failed trials of a study to a sampler.

    Args:
        sampler: the sampler, which may have any class.
    """

    def __init__(self, sampler: BaseSampler) -> None:
        self._sampler = sampler
        self._weight = WEIGHT if isinstance(sampler, TPESampler) else 1
        self._shown: dict[int, FrozenTrial] = {}

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
        self._sampler.after_trial(self._view(study), trial, state, values)

    def reseed_rng(self) -> None:
        """See `BaseSampler.reseed_rng`."""
        self._sampler.reseed_rng()

    def _view(self, study: Study) -> Study:
        return with_trials(study, lambda trials: self._taught(study, trials))

    def _taught(self, study: Study, trials: Sequence[FrozenTrial]) -> Sequence[FrozenTrial]:
        """The trials as the sampler sees them."""
        if not any(map(has_failed, trials)):
            return trials
        worst = _worst(study, trials)
        weight = self._weight if sum(t.state.is_finished() for t in trials) >= LEAST else 1
        found = []
        for trial in trials:
            is_failed = has_failed(trial)
            shown = self._copy(trial, is_failed) if trial.state.is_finished() else trial
            if is_failed and shown.values != worst:
                shown.values = worst
            found += [shown] * (weight if is_failed else 1)
        return found

    def _copy(self, trial: FrozenTrial, is_failed: bool) -> FrozenTrial:
        """An ended trial with the constraint: a Gaussian process needs it of each trial."""
        shown = self._shown.get(trial.number)
        if shown is None:
            shown = copy.copy(trial)
            shown.system_attrs = dict(trial.system_attrs)
            shown.set_constraint(FAILED, 1.0 if is_failed else -1.0)
            if is_failed:
                shown.state = TrialState.COMPLETE
            self._shown[trial.number] = shown
        return shown


def has_failed(trial: FrozenTrial) -> bool:
    """Whether a trial failed by its parameters, and not by an accident."""
    if trial.state is not TrialState.FAIL or FAILURE not in trial.user_attrs:
        return False
    return not _kind(trial.user_attrs).is_accident


def _kind(attributes: Mapping[str, Any]) -> Failure:
    return Failure(attributes[FAILURE])


def _worst(study: Study, trials: Sequence[FrozenTrial]) -> list[float]:
    """The worst finite value of each objective so far; 0 if there is none."""
    values = [trial.values for trial in trials if trial.state is TrialState.COMPLETE]
    worst = []
    for place, direction in enumerate(study.directions):
        finite = [each[place] for each in values if math.isfinite(each[place])]
        worst.append((max if direction.name == "MINIMIZE" else min)(finite, default=0.0))
    return worst
