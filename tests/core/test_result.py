from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from explr.core.config import ObjectiveConfig
from explr.core.errors import ResultError
from explr.core.protocols import TrainingResult
from explr.core.result import objective_values, read_result

LOSS = ObjectiveConfig()
ACCURACY = ObjectiveConfig("val_accuracy", "maximize")


@pytest.mark.parametrize("returned", [0.5, np.float32(0.5), np.array(0.5)])
def test_a_bare_number_takes_the_objective_s_name(returned: Any) -> None:
    result = read_result(returned, ACCURACY)
    assert result == TrainingResult(0.5, "val_accuracy", minimize=False)
    assert type(result.primary_metric) is float


def test_an_integer_is_a_number() -> None:
    assert read_result(1, LOSS).primary_metric == 1.0


def test_the_further_objectives_are_among_the_metrics() -> None:
    both = ObjectiveConfig(["val_loss", "latency"], ["minimize", "minimize"])
    result = read_result(TrainingResult(0.5, metrics={"latency": 2, "f1": 1}), both)
    assert objective_values(result, both) == {"val_loss": 0.5, "latency": 2.0}
    for returned, words in (
        (0.5, "the objectives are val_loss, latency, but latency is missing: return a"),
        (TrainingResult(0.5, metrics={"f1": 1}), "(there are f1)"),
        (TrainingResult(0.5, metrics={"latency": float("nan")}), "returned NaN as latency"),
        (TrainingResult(0.5, "latency"), "but the objective is val_loss"),
    ):
        with pytest.raises(ResultError) as caught:
            read_result(returned, both)
        assert words in str(caught.value)


def test_infinity_is_a_value() -> None:
    assert read_result(float("inf"), LOSS).primary_metric == float("inf")


def test_a_result_keeps_what_it_holds() -> None:
    given = TrainingResult(
        np.float32(0.5),  # type: ignore[arg-type]
        metrics={"accuracy": np.float64(0.25)},
        best_model_path=Path("best.pt"),  # type: ignore[arg-type]
        epochs_completed=3,
    )
    result = read_result(given, LOSS)
    assert result == TrainingResult(0.5, "val_loss", True, {"accuracy": 0.25}, "best.pt", 3)
    assert type(result.metrics["accuracy"]) is float


def test_a_dict_has_the_objective_under_its_name() -> None:
    result = read_result({"val_loss": np.float32(0.5), "accuracy": 1, "model": "a.pt"}, LOSS)
    assert result == TrainingResult(0.5, metrics={"accuracy": 1.0})
    both = ObjectiveConfig(["val_loss", "latency"], ["minimize", "minimize"])
    given = read_result({"latency": 2, "val_loss": 0.5}, both)
    assert objective_values(given, both) == {"val_loss": 0.5, "latency": 2.0}


@pytest.mark.parametrize(
    ("objective", "value"),
    [
        (LOSS, 0.75),
        (ObjectiveConfig(reported="best"), 0.25),
        (ObjectiveConfig("val_loss", "maximize", "best"), 1.5),
    ],
)
def test_a_reported_value_counts_for_none(objective: ObjectiveConfig, value: float) -> None:
    assert read_result(None, objective, [0.5, 0.25, 1.5, 0.75]).primary_metric == value
    assert read_result(0.1, objective, [0.5, 0.25]).primary_metric == 0.1


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (
            None,
            "train_model returned None and reported no val_loss: return a TrainingResult, or "
            "val_loss as a number, or report it with ctx.report",
        ),
        (float("nan"), "train_model returned NaN as val_loss: the training diverged"),
        ("0.5", "train_model returned '0.5' as val_loss: return"),
        (True, "train_model returned True as val_loss: return"),
        ([0.5], "train_model returned val_loss as a value of type list: return"),
        ({"loss": 0.5}, "train_model returned a dict without val_loss (it has loss): return"),
        ({"val_loss": "low"}, "train_model returned 'low' as val_loss: return"),
        (np.zeros(2), "train_model returned val_loss as a value of type ndarray: return"),
        (TrainingResult(None), "train_model returned None"),  # type: ignore[arg-type]
        (TrainingResult(float("nan")), "train_model returned NaN as val_loss"),
        (
            TrainingResult(0.5, "val_accuracy"),
            "train_model returned val_accuracy, but the objective is val_loss: return val_loss, "
            "or set objective.metric=val_accuracy",
        ),
        (TrainingResult(0.5, minimize=False), "set objective.direction=maximize"),
        (
            TrainingResult(0.5, metrics={"f1": "high"}),  # type: ignore[dict-item]
            "train_model returned 'high' as f1",
        ),
        (
            TrainingResult(0.5, metrics=[0.5]),  # type: ignore[arg-type]
            "metrics of the TrainingResult must be values by name, got [0.5]",
        ),
    ],
)
def test_what_is_no_result(returned: Any, words: str) -> None:
    with pytest.raises(ResultError) as caught:
        read_result(returned, LOSS)
    assert words in str(caught.value)
