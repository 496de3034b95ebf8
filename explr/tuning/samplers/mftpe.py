"""A multi-fidelity TPE, which learns from pruned trials.

The model of BOHB (Falkner, Klein, Hutter 2018, https://proceedings.mlr.press/v80/falkner18a.html):
trials are compared by what they showed at the largest rung that enough of them have reached.
Optuna's TPE takes each trial that ran to its end for better than each pruned one, whatever they
showed. The estimator itself is Optuna's.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial

from explr.tuning.optuna_private import with_trials
from explr.tuning.samplers.rungs import Shown

log = logging.getLogger("explr.sweep")


class MultiFidelityTPE(TPESampler):
    """TPE on the values at the largest rung that enough trials have reached.

    A rung is a step at which trials were pruned; trials that ran to their end reached all of them.
    All that it knows comes from the study. With several objectives it is Optuna's TPE.

    Args:
        n_min_trials: number of trials that must have reached a rung before its values count.
        seed: seed of the random numbers.
        n_startup_trials: number of trials with a value that counts before the first estimate.
        n_ei_candidates: number of samples of which the most promising one is taken.
        multivariate: see `TPESampler`.
        group: see `TPESampler`.
        constant_liar: see `TPESampler`.

    Raises:
        ValueError: `n_min_trials` is below 1.
    """

    def __init__(
        self,
        n_min_trials: int = 6,
        *,
        seed: int | None = None,
        n_startup_trials: int = 7,
        n_ei_candidates: int = 24,
        multivariate: bool | None = None,
        group: bool = False,
        constant_liar: bool = True,
    ) -> None:
        if n_min_trials < 1:
            raise ValueError(f"n_min_trials must be at least 1, got {n_min_trials}")
        super().__init__(
            seed=seed,
            n_startup_trials=n_startup_trials,
            n_ei_candidates=n_ei_candidates,
            multivariate=multivariate,
            group=group,
            constant_liar=constant_liar,
        )
        self._enough = n_min_trials
        self._shown = Shown()
        self._sampled: int | None = None
        self._trials: Sequence[FrozenTrial] = ()

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """See `BaseSampler`."""
        if len(study.directions) > 1:
            if self._sampled is None:
                log.info("several objectives: no trial is pruned, so tuner/sampler=mftpe is tpe")
            self._sampled = trial.number
        return super().infer_relative_search_space(self._view(study, trial), trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """See `BaseSampler`."""
        return super().sample_relative(self._view(study, trial), trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """See `BaseSampler`."""
        seen = self._view(study, trial)
        return super().sample_independent(seen, trial, param_name, param_distribution)

    def _view(self, study: Study, trial: FrozenTrial) -> Study:
        """The study with the trials as they are compared, which are found once per trial."""
        if len(study.directions) > 1:
            return study
        if self._sampled != trial.number:
            every = study.get_trials(deepcopy=False)
            self._trials = self._shown.trials(study, every, self._enough)
            self._sampled = trial.number
        return with_trials(study, lambda _: self._trials)
