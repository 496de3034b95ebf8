"""Reading what a training function returned."""

from __future__ import annotations

import math
from typing import Any

from explr.core.config import Direction, ObjectiveConfig
from explr.core.errors import ResultError
from explr.core.protocols import TrainingResult


def read_result(returned: Any, objective: ObjectiveConfig) -> TrainingResult:
    """Check what `train_model` returned against the objective.

    Args:
        returned: a `TrainingResult`, or a number: the value of the objective.
        objective: the metric and direction that the configuration names.

    Raises:
        ResultError: it is neither, it is NaN, or it speaks of another metric or direction.
    """
    minimize = objective.direction is Direction.minimize
    if isinstance(returned, TrainingResult):
        _check_objective(returned, objective.metric, minimize)
        result = returned
    else:
        result = TrainingResult(returned, objective.metric, minimize)
    result.primary_metric = _number(result.primary_metric, objective.metric)
    return result


def _check_objective(result: TrainingResult, metric: str, minimize: bool) -> None:
    if result.primary_metric_name != metric:
        raise ResultError(
            f"train_model returned {result.primary_metric_name}, but the objective is {metric}: "
            f"return {metric}, or set objective.metric={result.primary_metric_name}"
        )
    if result.minimize != minimize:
        direction = "minimize" if result.minimize else "maximize"
        raise ResultError(
            f"train_model returned minimize={result.minimize} for {metric}, which contradicts the "
            f"objective: return minimize={minimize}, or set objective.direction={direction}"
        )


def _number(value: Any, metric: str) -> float:
    wanted = f"return a TrainingResult, or {metric} as a number"
    if value is None:
        raise ResultError(f"train_model returned None: {wanted}")
    if isinstance(value, (str, bytes, bool)):
        raise ResultError(f"train_model returned {value!r} as {metric}: {wanted}")
    try:
        number = float(value)
    except (TypeError, ValueError):
        kind = type(value).__name__
        raise ResultError(f"train_model returned a {kind} as {metric}: {wanted}") from None
    if math.isnan(number):
        raise ResultError(f"train_model returned NaN as {metric}: the training diverged")
    return number
