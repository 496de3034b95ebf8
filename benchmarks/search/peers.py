"""The searches that explr is compared with, as their documentation recommends them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from simulation import Epoch, Search

from explr.tuning.search_space import parse

Ranges = Mapping[str, str]
"""The range of each hyperparameter in Hydra's grammar."""


class OptunaSearch:
    """A study of Optuna's, with one of its samplers and one of its pruners.

    Args:
        ranges: what is searched.
        sampler: the sampler.
        pruner: the pruner.
    """

    def __init__(self, ranges: Ranges, sampler: object, pruner: object) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._study = optuna.create_study(sampler=sampler, pruner=pruner)
        self._ranges = parse(ranges)[0].distributions
        self._trials: dict[int, optuna.Trial] = {}

    def ask(self) -> tuple[int, dict[str, object]] | None:
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


def random(ranges: Ranges, seed: int, workers: int) -> Search:
    """Random search: whole trainings."""
    from optuna.pruners import NopPruner
    from optuna.samplers import RandomSampler

    return OptunaSearch(ranges, RandomSampler(seed=seed), NopPruner())


PEERS: Mapping[str, Callable[[Ranges, int, int], Search]] = {
    "random": random,
}
"""Each search by its name."""
