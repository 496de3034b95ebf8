from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import explr
from explr.core.config import ExplrConfig
from explr.core.errors import CheckpointError
from explr.core.protocols import TrainingContext
from explr.core.reporter import NullReporter


class Tracker:
    def __init__(self) -> None:
        self.rows: list[tuple[int | None, dict[str, float]]] = []

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.rows.append((step, dict(metrics)))


class Reporter:
    def __init__(self) -> None:
        self.values: list[tuple[int, float]] = []

    def report(self, step: int, value: float) -> None:
        self.values.append((step, value))

    def missed(self, step: object, names: object) -> None:
        pass

    def should_prune(self) -> bool:
        return len(self.values) > 1


def context(tracker: Any, **more: Any) -> TrainingContext:
    return TrainingContext({}, tracker, "t", **more)


def test_defaults_are_those_of_the_contract() -> None:
    ctx = context(Tracker())
    assert (ctx.trial_number, ctx.experiment_name, ctx.device) == (0, "default", "cuda")
    assert (ctx.checkpoint_dir, ctx.seed) == ("./checkpoints", None)
    assert isinstance(ctx.reporter, NullReporter)
    ctx.reporter.report(0, 1.0)
    assert not ctx.should_prune


def test_every_field_is_documented() -> None:
    assert TrainingContext.__doc__ is not None
    for field in fields(TrainingContext):
        assert f"        {field.name}: " in TrainingContext.__doc__


def test_a_report_is_logged_and_the_objective_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = ExplrConfig.from_composed(explr.compose(["tracking=off"]))
    tracker, reporter = Tracker(), Reporter()
    ctx = context(tracker, config=config, reporter=reporter)
    ctx.report(0, train_loss=2.0)
    ctx.report(1, train_loss=1.5, val_loss=1.0)
    assert not ctx.should_prune
    ctx.report(2, val_loss=0.5)
    assert tracker.rows == [
        (0, {"train_loss": 2.0}), (1, {"train_loss": 1.5, "val_loss": 1.0}), (2, {"val_loss": 0.5}),
    ]  # fmt: skip
    assert reporter.values == [(1, 1.0), (2, 0.5)]
    assert ctx.should_prune
    ctx.report(np.float64(3), val_loss=0.25)
    assert (tracker.rows[3:], reporter.values[2:]) == ([(3, {"val_loss": 0.25})], [(3, 0.25)])


def test_a_metric_may_have_any_name() -> None:
    tracker = Tracker()
    ctx = context(tracker)
    odd = {"step": 1, "self": 2, "metrics": 3, "name": 4}
    ctx.report(0, **odd)
    ctx.report(step=1, loss=0.5)
    assert tracker.rows == [(0, odd), (1, {"loss": 0.5})]
    with pytest.raises(TypeError, match=r"as in report\(epoch, loss=loss\)"):
        ctx.report(loss=0.5)


def test_without_a_config_nothing_is_reported() -> None:
    reporter = Reporter()
    context(Tracker(), reporter=reporter).report(0, val_loss=1.0)
    assert reporter.values == []


def test_a_context_without_checkpoints_says_so() -> None:
    with pytest.raises(CheckpointError, match="without `checkpoints`"):
        context(Tracker()).save_checkpoint({}, 0)
    with pytest.raises(CheckpointError, match="without `checkpoints`"):
        context(Tracker()).load_checkpoint()
