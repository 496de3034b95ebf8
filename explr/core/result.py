"""Checks the return value of a training function."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from explr.core.config import ObjectiveConfig
from explr.core.errors import DivergedError, ResultError
from explr.core.numbers import read_metric, readable
from explr.core.protocols import TrainingResult
from explr.core.reporter import reported_value


def read_result(
    returned: Any, objective: ObjectiveConfig, reported: Sequence[float] = ()
) -> TrainingResult:
    """Check the return value of `train_model` against the objective.

    Args:
        returned: a `TrainingResult`, the value of the objective as a number, a dict that has it
            under the objective's name, or None, for which a reported value counts.
        objective: the metric and direction from the configuration.
        reported: values of the objective that the training has reported, the last at the end.

    Raises:
        DivergedError: the value is NaN.
        ResultError: the value has another type, the metric or direction differs from the
            configuration, a further metric is not a number, or one of several objectives is
            missing.
    """
    if isinstance(returned, TrainingResult):
        _check_objective(returned, objective.primary, objective.minimize)
        result = returned
    else:
        value, metrics = _value_of(returned, objective, reported)
        result = TrainingResult(value, objective.primary, objective.minimize, metrics)
    value = _number(result.primary_metric, objective.primary)
    path = result.best_model_path
    metrics = {}
    for name, each in _items(result.metrics):
        metrics |= _rows(each, str(name))
    result = replace(
        result,
        primary_metric=value,
        metrics=metrics,
        best_model_path=None if path is None else str(path),
    )
    for name, each in objective_values(result, objective).items():
        if math.isnan(each):
            raise DivergedError(f"train_model returned NaN as {name}: the training diverged")
    return result


def _value_of(
    returned: Any, objective: ObjectiveConfig, reported: Sequence[float]
) -> tuple[Any, dict[str, float]]:
    """The value of the objective, and further metrics, of what is no `TrainingResult`."""
    name = objective.primary
    if isinstance(returned, Mapping):
        if name not in returned:
            there = ", ".join(map(str, returned)) or "nothing"
            raise ResultError(
                f"train_model returned a dict without {name} (it has {there}): {_wanted(name)}"
            )
        others = {key: value for key, value in returned.items() if key != name}
        return returned[name], readable(others)
    if returned is not None:
        return returned, {}
    if not reported:
        raise ResultError(f"train_model returned None and reported no {name}: {_wanted(name)}")
    return reported_value(reported, objective.reported, objective.minimize), {}


def objective_values(result: TrainingResult, objective: ObjectiveConfig) -> dict[str, float]:
    """The value of each objective by name.

    Raises:
        ResultError: one of several objectives is not among the result's metrics.
    """
    primary, *others = objective.metrics
    missing = [name for name in others if name not in result.metrics]
    if missing:
        there = ", ".join(result.metrics) or "none"
        raise ResultError(
            f"the objectives are {', '.join(objective.metrics)}, but {', '.join(missing)} is "
            f"missing: return a TrainingResult with it among its metrics (there are {there})"
        )
    return {primary: result.primary_metric} | {name: result.metrics[name] for name in others}


def measured_values(
    result: TrainingResult, objective: ObjectiveConfig, logged: Callable[[str], Sequence[float]]
) -> dict[str, float]:
    """The value of each metric that has a constraint, by name.

    Args:
        result: what the training returned.
        objective: the constraints.
        logged: the values of a metric that the training has logged.

    Raises:
        ResultError: the training has neither returned nor logged one of them.
    """
    found = {}
    returned = {**result.metrics, objective.primary: result.primary_metric}
    for name in map(str, objective.constraints or ()):
        values = [returned[name]] if name in returned else logged(name)
        if not values:
            raise ResultError(
                f"objective.constraints has {name}, which the training neither returned nor "
                f"logged: return a TrainingResult with {name} among its metrics, or log it"
            )
        found[name] = float(values[-1])
    return found


def _items(metrics: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(metrics, Mapping):
        return metrics.items()
    raise ResultError(f"metrics of the TrainingResult must be values by name, got {metrics!r}")


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
    rows = _rows(value, metric)
    if metric not in rows:
        raise _refused(value, metric)
    return rows[metric]


def _rows(value: Any, metric: str) -> dict[str, float]:
    """The rows of a metric; see `read_metric`."""
    if value is None or isinstance(value, (str, bytes, bool)):
        raise ResultError(f"train_model returned {value!r} as {metric}: {_wanted(metric)}")
    if isinstance(value, (list, tuple)):  # several results
        raise _refused(value, metric)
    try:
        return read_metric(metric, value)
    except TypeError:
        raise _refused(value, metric) from None


def _refused(value: Any, metric: str) -> ResultError:
    kind = type(value).__name__
    return ResultError(
        f"train_model returned {metric} as a value of type {kind}: {_wanted(metric)}"
    )


def _wanted(metric: str) -> str:
    return f"return a TrainingResult, or {metric} as a number, or report it with ctx.report"
