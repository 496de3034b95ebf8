"""Bounds that a result must satisfy."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WORST = 1e6
"""The largest violation; samplers cannot work with an infinite one."""

JUST = 1e-9
"""Violation of a strict bound by a value that is equal to it."""

_BOUND = re.compile(r"\s*(<=|>=|<|>)\s*(\S+)\s*")


@dataclass(frozen=True)
class Constraint:
    """A bound of a metric.

    Args:
        name: name of the metric.
        sign: `<=`, `<`, `>=` or `>`.
        bound: the bound.
    """

    name: str
    sign: str
    bound: float

    def violation(self, value: float) -> float:
        """By how much a value violates the bound, relative to it; at most 0 if it does not."""
        over = value - self.bound if self.sign.startswith("<") else self.bound - value
        if math.isnan(over):
            return WORST
        relative = over / (abs(self.bound) or 1.0)
        return min(WORST, max(-WORST, relative)) or (0.0 if self.sign.endswith("=") else JUST)


def constraints_of(given: Mapping[str, Any] | None) -> tuple[Constraint, ...]:
    """The constraints of a config without faults.

    Args:
        given: bounds by metric, such as `<= 5`; None sets none.
    """
    found = ((str(name), _BOUND.fullmatch(str(text))) for name, text in (given or {}).items())
    return tuple(Constraint(name, each[1], float(each[2])) for name, each in found if each)


def constraint_faults(given: Any, node: str) -> list[str]:
    """What is wrong with the constraints of a config.

    Args:
        given: bounds by metric; None sets none.
        node: where they stand.
    """
    if given is None:
        return []
    if not isinstance(given, Mapping):
        return [f"{node}.constraints must be bounds by metric, as in {{latency_ms: '<= 5'}}"]
    return [
        f"{node}.constraints.{name}={str(text)!r} is no bound: write a sign and a number, as in "
        "'<= 5', '< 5', '>= 5' or '> 5'"
        for name, text in given.items()
        if not _is_bound(str(text))
    ]


def _is_bound(text: str) -> bool:
    found = _BOUND.fullmatch(text)
    try:
        return found is not None and math.isfinite(float(found[2]))
    except ValueError:
        return False


def are_satisfied(constraints: Sequence[Constraint], values: Sequence[float]) -> bool:
    """Whether values satisfy constraints, given in the same order; also if there are no values."""
    pairs = zip(constraints, values, strict=bool(values))
    return all(each.violation(value) <= 0 for each, value in pairs)
