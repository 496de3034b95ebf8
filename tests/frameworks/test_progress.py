from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import pytest

from explr.core.errors import ResultError, TrialPruned
from explr.frameworks.progress import Progress


class Model:
    """A model whose file says at which save it was written."""

    def __init__(self) -> None:
        self.saves = 0

    def save(self, path: Path) -> None:
        self.saves += 1
        path.write_text(f"save {self.saves}")


@pytest.fixture
def model() -> Model:
    return Model()


def follow(progress: Progress, model: Model, values: list[float], start: int = 0) -> None:
    for epoch, value in enumerate(values, start):
        progress.epoch_end(epoch, {"val_loss": value, "val_accuracy": epoch / 10}, model.save)


def test_the_best_epoch_is_the_result(make_context: Any, model: Model, tmp_path: Path) -> None:
    progress = Progress(make_context(), "best_model.bin")
    follow(progress, model, [3.0, 1.0, 2.0])
    result = progress.result()
    assert result.primary_metric == 1.0
    assert result.primary_metric_name == "val_loss"
    assert result.minimize
    assert result.metrics == {"val_loss": 1.0, "val_accuracy": 0.1}
    assert result.epochs_completed == 3
    assert result.best_model_path == str(tmp_path / "best_model.bin")
    assert (tmp_path / "best_model.bin").read_text() == "save 2"
    assert model.saves == 2


def test_the_objective_of_the_configuration_is_followed(make_context: Any, model: Model) -> None:
    progress = Progress(make_context("val_accuracy", "maximize"), "best_model.bin")
    follow(progress, model, [1.0, 2.0, 3.0])
    result = progress.result()
    assert (result.primary_metric, result.primary_metric_name) == (0.2, "val_accuracy")
    assert not result.minimize


def test_every_epoch_is_reported_and_logged(
    make_context: Any, model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    ctx = make_context()
    progress = Progress(ctx, "best_model.bin", epochs=20)
    with caplog.at_level(logging.INFO):
        progress.epoch_end(2, {"train_loss": 0.12341, "val_loss": 1e-5, "x": 0}, model.save)
    assert ctx.tracker.rows == [(2, {"train_loss": 0.12341, "val_loss": 1e-5, "x": 0.0})]
    assert caplog.messages == ["epoch 3/20  train_loss 0.1234  val_loss 1e-05  x 0.0000"]


def test_a_pruned_trial_ends_with_its_best_model_saved(
    make_context: Any, model: Model, tmp_path: Path
) -> None:
    ctx = make_context("val_loss", reporter=make_context.PruneAt(1))
    progress = Progress(ctx, "best_model.bin")
    with pytest.raises(TrialPruned, match="after epoch 2"):
        follow(progress, model, [3.0, 2.0, 1.0])
    assert ctx.reporter.reported == [(0, 3.0), (1, 2.0)]
    assert [step for step, _ in ctx.tracker.rows] == [0, 1]
    assert (tmp_path / "best_model.bin").read_text() == "save 2"


def test_nan_is_never_the_best(make_context: Any, model: Model) -> None:
    progress = Progress(make_context(), "best_model.bin")
    follow(progress, model, [math.nan, 2.0, math.nan])
    assert progress.result().primary_metric == 2.0


def test_a_training_that_only_diverged_says_so(make_context: Any, model: Model) -> None:
    progress = Progress(make_context(), "best_model.bin")
    follow(progress, model, [math.nan, math.nan])
    result = progress.result()
    assert math.isnan(result.primary_metric)
    assert result.best_model_path is None


def test_epochs_without_the_objective_are_only_reported(make_context: Any, model: Model) -> None:
    progress = Progress(make_context(), "best_model.bin")
    progress.epoch_end(0, {"train_loss": 1.0}, model.save)
    assert model.saves == 0
    with pytest.raises(ResultError, match=r"val_loss is not among .* they have train_loss"):
        progress.result()
    follow(progress, model, [2.0], start=1)
    assert progress.result().primary_metric == 2.0


def test_no_epoch_is_no_result(make_context: Any) -> None:
    with pytest.raises(ResultError, match="there are none"):
        Progress(make_context(), "best_model.bin").result()


def test_no_metric_ends_a_training(make_context: Any, model: Model) -> None:
    ctx = make_context()
    progress = Progress(ctx, "best_model.bin")
    progress.epoch_end(0, {"val_loss": [], "f1": [0.5, 0.25]}, model.save)
    assert ctx.tracker.rows == [(0, {"val_loss": [], "f1": [0.5, 0.25], "f1/0": 0.5, "f1/1": 0.25})]
    with pytest.raises(ResultError, match=r"val_loss is not among .* they have f1/0, f1/1"):
        progress.result()
    progress.epoch_end(1, {"val_loss": [2.0]}, model.save)
    assert progress.result().primary_metric == 2.0


def test_resuming_remembers_what_is_to_be_beaten(
    make_context: Any, model: Model, tmp_path: Path
) -> None:
    follow(Progress(make_context(), "best_model.bin"), model, [3.0, 1.0])
    resumed = Progress(make_context(), "best_model.bin", start_epoch=2)
    follow(resumed, model, [2.0], start=2)
    result = resumed.result()
    assert result.primary_metric == 1.0
    assert result.epochs_completed == 3
    assert (tmp_path / "best_model.bin").read_text() == "save 2"


def test_nothing_left_to_train_is_the_earlier_result(make_context: Any, model: Model) -> None:
    follow(Progress(make_context(), "best_model.bin"), model, [3.0, 1.0])
    result = Progress(make_context(), "best_model.bin", start_epoch=2).result()
    assert (result.primary_metric, result.epochs_completed) == (1.0, 2)


def test_a_fresh_training_owes_nothing_to_an_old_one(make_context: Any, model: Model) -> None:
    follow(Progress(make_context(), "best_model.bin"), model, [1.0])
    fresh = Progress(make_context(), "best_model.bin")
    follow(fresh, model, [2.0])
    assert fresh.result().primary_metric == 2.0


def test_a_failed_save_leaves_the_earlier_best_model(
    make_context: Any, model: Model, tmp_path: Path
) -> None:
    progress = Progress(make_context(), "best_model.bin")
    follow(progress, model, [2.0])

    def break_off(path: Path) -> None:
        path.write_text("half")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        progress.epoch_end(1, {"val_loss": 1.0}, break_off)
    assert (tmp_path / "best_model.bin").read_text() == "save 1"
    assert progress.result().primary_metric == 2.0
