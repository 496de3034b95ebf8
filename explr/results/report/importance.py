"""The importance of hyperparameters, as `optuna.importance` assesses it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from explr.core.errors import UsageError

if TYPE_CHECKING:
    from optuna import Study
    from optuna.importance import BaseImportanceEvaluator
    from optuna.trial import FrozenTrial

ENOUGH = 20
"""Completed trials from which the importances mean something: with fewer, the wrong parameter often
comes first (`benchmarks/p21_importance.py`)."""

MOST_FOR_FANOVA = 300
"""Completed trials that fANOVA looks at, spread evenly: with more it takes minutes."""

PED_ANOVA, FANOVA = "PED-ANOVA", "fANOVA"


@contextmanager
def quietly() -> Iterator[None]:
    """Keep Optuna from telling of what a page says in its own words, or does not."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)


def importances(study: Study, objective: int = 0) -> dict[str, dict[str, float]]:
    """The importances by method, the most reliable method first.

    Args:
        study: a study of completed trials with finite values.
        objective: index of the objective.

    Returns:
        For each method the importance of each parameter, the largest first; they sum to 1. fANOVA
        names the right parameter more often, but knows only those that every trial has.

    Raises:
        UsageError: there are too few trials, or they tell nothing; a sentence.
    """
    from optuna.importance import (
        FanovaImportanceEvaluator,
        PedAnovaImportanceEvaluator,
        get_param_importances,
    )

    trials = study.get_trials(deepcopy=False)
    if len(trials) < ENOUGH:
        count = f"{len(trials) or 'none'} {'is' if len(trials) < 2 else 'are'}"
        raise UsageError(
            f"An importance means something from {ENOUGH} completed trials on; {count} completed."
        )
    if not any(trial.params for trial in trials):
        raise UsageError("No parameter is searched.")
    if len({trial.values[objective] for trial in trials}) < 2:
        raise UsageError("All trials have the same value, so the importances are undefined.")
    target = _loss(study, objective)
    found = {}
    with warnings.catch_warnings():
        # It reminds of what `_loss` does, and of branches of conditional spaces with few trials.
        warnings.simplefilter("ignore")
        if varying := _common(trials):
            forest = FanovaImportanceEvaluator(n_trees=32, max_depth=32, seed=0)
            apart = math.ceil(len(trials) / MOST_FOR_FANOVA)
            found[FANOVA] = get_param_importances(
                study_of(trials[::apart], study.directions),
                evaluator=forest,
                params=varying,
                target=target,
            )
        found[PED_ANOVA] = get_param_importances(
            study, evaluator=PedAnovaImportanceEvaluator(), target=target
        )
    return {
        method: {name: float(share) for name, share in shares.items()}
        for method, shares in found.items()
    }


def by_importance(found: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The parameters, the most important first.

    Args:
        found: the importances by method.
    """
    return list(dict.fromkeys(name for shares in found.values() for name in shares))


def known(shares: Mapping[str, float]) -> BaseImportanceEvaluator:
    """An evaluator for Optuna's chart that does not assess again what took seconds.

    Args:
        shares: the importance of each parameter.
    """
    from optuna.importance import BaseImportanceEvaluator

    class Known(BaseImportanceEvaluator):
        def evaluate(self, study: Any, params: Any = None, *, target: Any = None) -> Any:
            return dict(shares)

    return Known()


def study_of(trials: list[FrozenTrial], directions: Any) -> Study:
    """A study in memory that has these trials, under the numbers that they have.

    Args:
        trials: the trials.
        directions: the direction of each objective.
    """
    import optuna
    from optuna.storages import InMemoryStorage

    class Held(optuna.Study):
        def get_trials(self, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
            return [trial for trial in trials if states is None or trial.state in states]

    storage = InMemoryStorage()
    with quietly():  # it tells of each study that it creates
        made = optuna.create_study(storage=storage, directions=list(directions))
    return Held(made.study_name, storage)


def _loss(study: Study, objective: int) -> Any:
    """What an evaluator is to look at; None with a single objective, whose direction it knows."""
    if len(study.directions) == 1:
        return None
    sign = 1 if study.directions[objective].name == "MINIMIZE" else -1

    def loss(trial: FrozenTrial) -> float:
        return sign * float(trial.values[objective])

    return loss


def _common(trials: list[FrozenTrial]) -> list[str]:
    """Parameters that every trial has and that vary; fANOVA knows no others."""
    names = set.intersection(*(set(trial.params) for trial in trials))
    return sorted(name for name in names if len({str(trial.params[name]) for trial in trials}) > 1)
