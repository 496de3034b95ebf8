"""Successive halving counts reports: Optuna's decisions for epochs, the same for other steps."""

from __future__ import annotations

import random

import optuna
import pytest
from optuna.pruners import BasePruner

from explr.tuning.completed import keep
from explr.tuning.pruners.halving import SuccessiveHalvingPruner

EPOCHS, TRIALS = 12, 30


def stopped_after(
    pruner: BasePruner, every: int, first: int, direction: str = "minimize", one_writer: bool = True
) -> list[int]:
    """How many reports each of some trials made, whose steps lie so far apart."""
    draw = random.Random(0)
    study = optuna.create_study(pruner=pruner, direction=direction)
    if one_writer:
        keep(study)
    made = []
    for _ in range(TRIALS):
        trial, level = study.ask(), draw.random()
        pruned, count = False, 0
        while count < EPOCHS and not pruned:
            trial.report(level + draw.random() / 4, first + count * every)
            pruned, count = trial.should_prune(), count + 1
        state = optuna.trial.TrialState.PRUNED if pruned else None
        study.tell(trial, None if pruned else level, state=state)
        made.append(count)
    return made


@pytest.mark.parametrize(("every", "first"), [(1, 0), (1000, 1000), (1, 7)])
def test_it_decides_as_optunas_does_however_steps_are_numbered(every: int, first: int) -> None:
    theirs = optuna.pruners.SuccessiveHalvingPruner(min_resource=2, reduction_factor=3)
    expected = stopped_after(theirs, 1, 0)
    assert {3, 7, EPOCHS} == set(expected)
    assert stopped_after(SuccessiveHalvingPruner(2, 3), every, first) == expected


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("one_writer", [True, False])
def test_it_decides_as_optunas_does_in_each_study(direction: str, one_writer: bool) -> None:
    theirs = optuna.pruners.SuccessiveHalvingPruner(min_resource=2, reduction_factor=3)
    ours = SuccessiveHalvingPruner(2, 3)
    expected = stopped_after(theirs, 1, 0, direction)
    assert stopped_after(ours, 1, 0, direction, one_writer) == expected


def test_a_resumed_study_knows_the_rungs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those of trials that still run; and each trial is read once."""
    study = optuna.create_study(pruner=SuccessiveHalvingPruner(1, 2))
    for value in (1.0, 2.0, 3.0, 4.0):
        trial = study.ask()
        trial.report(value, 0)
        trial.report(value, 1)
        trial.should_prune()
    keep(study)
    again = study.ask()
    again.report(2.5, 0)
    again.report(2.5, 1)
    assert again.should_prune()
    monkeypatch.setattr(study, "get_trials", None)
    last = study.ask()
    last.report(0.5, 0)
    last.report(0.5, 1)
    assert not last.should_prune()


def test_a_training_that_is_shorter_than_the_first_rung_is_not_pruned() -> None:
    assert set(stopped_after(SuccessiveHalvingPruner(EPOCHS, 3), 1, 0)) == {EPOCHS}
