"""The searches that explr is compared with, each driven as its own controller drives it.

Each has its defaults, or what its documentation shows. None is tuned to the tables. Syne Tune's CQR
is left out: a search takes minutes.
"""

from __future__ import annotations

import random
from bisect import insort
from collections.abc import Callable, Mapping
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from lcbench import EPOCHS
from simulation import Epoch, Search

from explr.tuning.search_space import parse

Ranges = Mapping[str, str]
"""The range of each hyperparameter in Hydra's grammar."""

METRIC, STEP = "error", "training_iteration"


class OptunaStudy:
    """A study of Optuna's, with one of its samplers and one of its pruners.

    Args:
        ranges: what is searched.
        sampler: the sampler.
        pruner: the pruner; None prunes as Optuna does by default, by the median.
    """

    def __init__(self, ranges: Ranges, sampler: Any, pruner: Any) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._study = optuna.create_study(sampler=sampler, pruner=pruner)
        self._ranges = parse(ranges)[0].distributions
        self._trials: dict[int, optuna.Trial] = {}

    def ask(self) -> tuple[int, dict[str, Any]] | None:
        """See `Search.ask`."""
        trial = self._study.ask(self._ranges)
        self._trials[trial.number] = trial
        return trial.number, trial.params

    def report(self, epoch: Epoch) -> bool:
        """See `Search.report`; steps count from 0."""
        from optuna.trial import TrialState

        trial = self._trials[epoch.key]
        trial.report(epoch.error, epoch.number - 1)
        if pruned := trial.should_prune():
            self._study.tell(trial, state=TrialState.PRUNED)
        elif epoch.last:
            self._study.tell(trial, epoch.error)
        return not pruned


class HydraOptunaSweeper(OptunaStudy):
    """hydra-optuna-sweeper: batches of as many trials as there are workers, none is pruned.

    Args:
        ranges: what is searched.
        seed: seed of the sampler.
        workers: its `n_jobs`.
    """

    def __init__(self, ranges: Ranges, seed: int, workers: int) -> None:
        from hydra.utils import instantiate
        from hydra_plugins.hydra_optuna_sweeper.config import TPESamplerConfig
        from optuna.pruners import NopPruner

        given = {k: v for k, v in vars(TPESamplerConfig(seed=seed)).items() if v is not None}
        super().__init__(ranges, instantiate(given), NopPruner())
        self._batch = workers
        self._asked = 0
        self._ended: list[tuple[Any, float]] = []

    def ask(self) -> tuple[int, dict[str, Any]] | None:
        """See `Search.ask`."""
        if self._asked == self._batch:
            if len(self._ended) < self._batch:
                return None
            for trial, value in sorted(self._ended, key=lambda each: each[0].number):
                self._study.tell(trial, value)
            self._asked, self._ended = 0, []
        self._asked += 1
        return super().ask()

    def report(self, epoch: Epoch) -> bool:
        """See `Search.report`; it hears of whole trainings only."""
        if epoch.last:
            self._ended.append((self._trials[epoch.key], epoch.error))
        return True


class RayTune:
    """Ray Tune's ASHA with `OptunaSearch`, by the example of ASHA in its documentation.

    Args:
        ranges: what is searched.
        seed: seed of the search algorithm.
    """

    def __init__(self, ranges: Ranges, seed: int) -> None:
        import optuna
        from ray.tune.schedulers import ASHAScheduler
        from ray.tune.search.optuna import OptunaSearch

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._searcher = OptunaSearch(
            parse(ranges)[0].distributions, metric=METRIC, mode="min", seed=seed
        )
        self._scheduler = ASHAScheduler(
            STEP, METRIC, "min", max_t=EPOCHS, grace_period=10, reduction_factor=3
        )
        self._trials: list[Any] = []

    def ask(self) -> tuple[int, dict[str, Any]] | None:
        """See `Search.ask`."""
        key = len(self._trials)
        params = self._searcher.suggest(str(key))
        assert params is not None
        self._trials.append(SimpleNamespace(trial_id=str(key)))
        self._scheduler.on_trial_add(None, self._trials[key])
        return key, params

    def report(self, epoch: Epoch) -> bool:
        """See `Search.report`; a stopped trial completes with its last value, as in Ray Tune."""
        trial, result = self._trials[epoch.key], {METRIC: epoch.error, STEP: epoch.number}
        decision = self._scheduler.on_trial_result(None, trial, result)
        if decision == self._scheduler.CONTINUE:
            self._searcher.on_trial_result(trial.trial_id, result)
            return True
        self._searcher.on_trial_complete(trial.trial_id, result)
        self._scheduler.on_trial_complete(None, trial, result)
        return False


class SyneTune:
    """A scheduler of Syne Tune, with its defaults.

    Args:
        ranges: what is searched.
        seed: seed of the scheduler.
        name: the scheduler in `syne_tune.optimizer.baselines`.
    """

    def __init__(self, ranges: Ranges, seed: int, name: str) -> None:
        from syne_tune.optimizer import baselines

        space = {key: _syne_domain(of) for key, of in parse(ranges)[0].distributions.items()}
        self._scheduler = getattr(baselines, name)(
            space, metric=METRIC, time_attr=STEP, max_t=EPOCHS, random_seed=seed
        )
        self._trials: list[Any] = []

    def ask(self) -> tuple[int, dict[str, Any]] | None:
        """See `Search.ask`."""
        from syne_tune.backend.trial_status import Trial

        key = len(self._trials)
        config = self._scheduler.suggest().config
        self._trials.append(Trial(key, config, datetime.now()))
        self._scheduler.on_trial_add(self._trials[key])
        return key, config

    def report(self, epoch: Epoch) -> bool:
        """See `Search.report`."""
        from syne_tune.optimizer.scheduler import SchedulerDecision

        trial, result = self._trials[epoch.key], {METRIC: epoch.error, STEP: epoch.number}
        if self._scheduler.on_trial_result(trial, result) == SchedulerDecision.CONTINUE:
            return True
        self._scheduler.on_trial_remove(trial)
        return False


class ConstantEpochs:
    """Random search that stops all but the best quarter after a constant number of epochs.

    As in Egele et al., "Is one epoch all you need for multi-fidelity hyperparameter optimization?"
    (2023), without waiting: a training goes on if it is in the best quarter of those so far.

    Args:
        ranges: what is searched.
        seed: seed of the samples.
        epochs: the number of epochs.
    """

    def __init__(self, ranges: Ranges, seed: int, epochs: int = 9) -> None:
        from optuna.samplers import RandomSampler

        self._whole = OptunaStudy(ranges, RandomSampler(seed=seed), None)
        self._epochs = epochs
        self._errors: list[float] = []

    def ask(self) -> tuple[int, dict[str, Any]] | None:
        """See `Search.ask`."""
        return self._whole.ask()

    def report(self, epoch: Epoch) -> bool:
        """See `Search.report`."""
        if epoch.number != self._epochs:
            return True
        insort(self._errors, epoch.error)
        return epoch.error <= self._errors[(len(self._errors) - 1) // 4]


def _syne_domain(distribution: Any) -> Any:
    """A range of Optuna's as Syne Tune's."""
    from syne_tune import config_space

    names = {
        (False, False): "uniform",
        (False, True): "loguniform",
        (True, False): "randint",
        (True, True): "lograndint",
    }
    if hasattr(distribution, "choices"):
        return config_space.choice(list(distribution.choices))
    name = names[isinstance(distribution.low, int), distribution.log]
    return getattr(config_space, name)(distribution.low, distribution.high)


def _optuna(sampler: str, pruner: str | None, **settings: Any) -> Callable[..., Search]:
    def make(ranges: Ranges, seed: int, workers: int) -> Search:
        from optuna import pruners, samplers

        chosen = getattr(pruners, pruner)() if pruner else None
        return OptunaStudy(ranges, getattr(samplers, sampler)(seed=seed, **settings), chosen)

    return make


def _syne(name: str) -> Callable[..., Search]:
    return lambda ranges, seed, workers: SyneTune(ranges, seed, name)


PEERS: Mapping[str, Callable[[Ranges, int, int], Search]] = {
    "hydra-optuna-sweeper": HydraOptunaSweeper,
    "Optuna, defaults": _optuna("TPESampler", None),
    "Optuna, SuccessiveHalvingPruner": _optuna("TPESampler", "SuccessiveHalvingPruner"),
    "Ray Tune, ASHA and OptunaSearch": lambda ranges, seed, workers: RayTune(ranges, seed),
    "Syne Tune, ASHA": _syne("ASHA"),
    "Syne Tune, BOHB": _syne("BOHB"),
    "random, SuccessiveHalvingPruner": _optuna("RandomSampler", "SuccessiveHalvingPruner"),
    "random, constant epochs": lambda ranges, seed, workers: ConstantEpochs(ranges, seed),
    "random": _optuna("RandomSampler", "NopPruner"),
}
"""Each search by its name, made of ranges, a seed and the number of workers."""


def seeded(seed: int) -> None:
    """Seed what the libraries draw from without a seed of their own."""
    import numpy as np

    random.seed(seed)
    np.random.seed(seed)
