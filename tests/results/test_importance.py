"""The importance of hyperparameters: what matters comes first, and too few trials name nothing."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, create_trial

from explr.core.errors import UsageError
from explr.results.report.importance import ENOUGH, by_importance, importances

RANGES = {
    "one": FloatDistribution(1e-4, 1.0, log=True),
    "two": IntDistribution(0, 40),
    "three": CategoricalDistribution(["a", "b"]),
}
LESS, MORE = StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE


def trials(count: int, value: Any = lambda params: abs(params["two"] - 30)) -> list[FrozenTrial]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    asked = [study.ask(RANGES).params for _ in range(count)]
    made = []
    for params in asked:
        values = value(params)
        values = values if isinstance(values, list) else [float(values)]
        made.append(create_trial(values=values, params=params, distributions=RANGES))
    return made


def study_of(made: list[FrozenTrial], directions: list[StudyDirection]) -> optuna.Study:
    study = optuna.create_study(directions=directions)
    study.add_trials(made)
    return study


@pytest.mark.parametrize("direction", [LESS, MORE])
def test_what_matters_comes_first(direction: StudyDirection) -> None:
    found = importances(study_of(trials(60), [direction]))
    assert [*found] == ["fANOVA", "PED-ANOVA"]
    for shares in found.values():
        assert next(iter(shares)) == "two"
        assert sum(shares.values()) == pytest.approx(1)
    assert by_importance(found)[0] == "two"


@pytest.mark.parametrize(("objective", "name"), [(0, "one"), (1, "two")])
def test_each_objective_has_its_own(objective: int, name: str) -> None:
    made = trials(60, lambda params: [params["one"], -abs(params["two"] - 30)])
    found = importances(study_of(made, [LESS, MORE]), objective)
    assert all(next(iter(shares)) == name for shares in found.values())


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ([], f"from {ENOUGH} completed trials on; none is completed"),
        (trials(1), "1 is completed"),
        (trials(ENOUGH - 1), f"{ENOUGH - 1} are completed"),
        (trials(ENOUGH, lambda params: 1.0), "All trials have the same value"),
        ([create_trial(value=float(i)) for i in range(ENOUGH)], "No parameter is searched"),
    ],
)
def test_what_tells_nothing_is_a_sentence(made: list[FrozenTrial], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        importances(study_of(made, [LESS]))
