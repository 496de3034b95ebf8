"""Bounds of metrics, as a config writes them."""

from __future__ import annotations

import math

import pytest

from explr.core.objective.constraints import (
    Constraint,
    are_satisfied,
    constraint_faults,
    constraints_of,
)


def test_bounds_are_read() -> None:
    found = constraints_of({"latency_ms": "<= 5", "params": " <2e6 ", "acc": ">=.9", "x": "> -1"})
    assert found == (
        Constraint("latency_ms", "<=", 5.0),
        Constraint("params", "<", 2e6),
        Constraint("acc", ">=", 0.9),
        Constraint("x", ">", -1.0),
    )
    assert constraint_faults({each.name: f"{each.sign} {each.bound}" for each in found}, "o") == []


@pytest.mark.parametrize("text", ["=< 5", "5", "fast", "<= fast", "<= nan", "<= inf", "== 5", None])
def test_what_is_no_bound_is_said(text: object) -> None:
    (fault,) = constraint_faults({"latency_ms": text}, "objective")
    assert fault == (
        f"objective.constraints.latency_ms={str(text)!r} is no bound: write a sign and a number, "
        "as in '<= 5', '< 5', '>= 5' or '> 5'"
    )


def test_what_is_no_mapping_is_said() -> None:
    (fault,) = constraint_faults("<= 5", "objective")
    assert fault == "objective.constraints must be bounds by metric, as in {latency_ms: '<= 5'}"


@pytest.mark.parametrize(
    ("sign", "value", "violation"),
    [
        ("<=", 5.0, 0.0), ("<", 5.0, 1e-9), ("<=", 10.0, 1.0), ("<=", 2.5, -0.5),
        (">=", 5.0, 0.0), (">", 5.0, 1e-9), (">=", 10.0, -1.0), (">=", 2.5, 0.5),
        ("<=", math.nan, 1e6), ("<=", math.inf, 1e6), ("<=", -math.inf, -1e6),
    ],
)  # fmt: skip
def test_violations_are_relative_to_the_bound(sign: str, value: float, violation: float) -> None:
    assert Constraint("x", sign, 5.0).violation(value) == violation


def test_a_bound_of_zero() -> None:
    assert Constraint("x", "<=", 0.0).violation(0.25) == 0.25


def test_satisfied_are_those_without_a_violation() -> None:
    bounds = constraints_of({"a": "<= 1", "b": ">= 2"})
    assert are_satisfied(bounds, (1.0, 2.0))
    assert not are_satisfied(bounds, (1.0, 1.9))
    assert are_satisfied(bounds, ())
