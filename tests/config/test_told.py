"""What a sweep tells: a pruner that hears nothing, and trials that must repeat."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import pytest

import explr
from explr.core.protocols import TrainingContext
from explr.core.reporter import HeardReporter, Listeners, NullReporter
from explr.tuning.search_space import parse

OFF = ["tracking=off", "framework=none", "gpu=cpu"]
BASIC = "hydra/launcher=basic"


class Told(NullReporter):
    def __init__(self) -> None:
        self.missing: list[tuple[object, list[str]]] = []

    def missed(self, step: object, names: object) -> None:
        self.missing.append((step, list(names)))  # type: ignore[call-overload]


def test_the_third_step_is_told_once() -> None:
    told = Told()
    reporter = HeardReporter(told, Listeners())
    for step, name in enumerate(["acc", "acc", "loss", "f1", "acc"]):
        reporter.missed(step, [name])
    assert told.missing == [(2, ["acc", "loss"])]


def test_nothing_is_missing_once_the_objective_was_there_or_steps_repeat() -> None:
    told = Told()
    reporter = HeardReporter(told, Listeners())
    for _ in range(4):
        reporter.missed(0, ["acc"])
    reporter.report(0, 1.0)
    for step in range(4):
        reporter.missed(step, ["acc"])
    assert told.missing == []


def silent(ctx: TrainingContext) -> float:
    for step in range(5):
        ctx.report(step, acc=step / 5, train_loss=1.0)
    return float(ctx.hyperparameters["lr"])


def heard(ctx: TrainingContext) -> float:
    for step in range(5):
        ctx.report(step, acc=step / 5)
        ctx.report(step, val_loss=1.0)
    return float(ctx.hyperparameters["lr"])


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("train", "more", "is_told"),
    [
        (silent, [BASIC], True),
        (silent, [], True),  # in a process of its own
        (silent, [BASIC, "tuner/pruner=none"], False),
        (heard, [BASIC], False),
    ],
    ids=["here", "elsewhere", "no pruner", "heard"],
)
def test_a_pruner_that_hears_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    train: object,
    more: list[str],
    is_told: bool,
) -> None:
    monkeypatch.chdir(tmp_path)
    explr.tune([*OFF, "lr=interval(0,1)", *more], train, n_trials=2)  # type: ignore[arg-type]
    out = capsys.readouterr().out
    sentence = (
        "trial 0 reports acc, train_loss, and not the objective val_loss, so that the pruner "
        "cannot stop it: report val_loss, or set objective.metric=acc"
    )
    assert out.count(sentence) == 2 * is_told  # when it is seen, and at the end
    assert ("nothing was pruned: " in out) == is_told


@pytest.mark.parametrize(
    ("ranges", "size"),
    [
        ({"a": "choice(1,2,3)"}, 3),
        ({"a": "choice(1,2,3)", "b": "range(0,4)"}, 12),
        ({"a": "int(interval(1,4))", "b": "true,false"}, 8),
        ({"a": "range(0,1,0.25)"}, 4),
        ({"a": "choice(1,2)", "b": "interval(0,1)"}, math.inf),
        ({"a": "[1,2],[3]"}, 2),
    ],
)
def test_combinations(ranges: dict[str, str], size: float) -> None:
    assert parse(ranges)[0].size == size


@pytest.mark.slow
def test_trials_that_must_repeat_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def told(*more: str, n_trials: int) -> bool:
        explr.tune(
            [*OFF, BASIC, "lr=choice(0.1,0.2,0.3)", *more],
            lambda ctx: ctx.hyperparameters["lr"],
            n_trials=n_trials,
        )
        said = (
            f"the ranges have 3 combinations for {n_trials} trials, so that trials repeat: "
            "tuner/sampler=grid runs each combination once"
        )
        return said in capsys.readouterr().out

    assert told(n_trials=4)
    assert not told(n_trials=3)
    assert not told("tuner/sampler=grid", n_trials=20)
