"""Converts values of training code to what a journal holds."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

MAX_STEP = 2**63 - 1
"""The largest step that fits into a database."""


def number(name: str, value: Any, step: Any = None) -> float:
    """The value of a metric as a float.

    Args:
        name: name of the metric, for the error message.
        value: a number, or an array or tensor of no dimensions.
        step: the step that it belongs to, for the error message.

    Raises:
        TypeError: it is not a number.
    """
    if type(value) is float:
        return value
    if isinstance(value, (str, bytes, bytearray)):
        raise _no_number(name, value, step)
    detach = getattr(value, "detach", None)  # PyTorch warns about a tensor that has a graph
    try:
        return float(value if detach is None else detach())
    except (TypeError, ValueError, OverflowError):
        raise _no_number(name, value, step) from None


def whole_step(step: Any) -> int | None:
    """The step of a metric as an int.

    Raises:
        TypeError: it is not a whole number.
        ValueError: it does not fit into 64 bits.
    """
    if step is None:
        return None
    try:
        whole = operator.index(step)
    except TypeError:
        raise TypeError(
            f"step must be a whole number, got {type(step).__name__} {step!r:.80}"
        ) from None
    if not -MAX_STEP <= whole <= MAX_STEP:
        raise ValueError(f"step must fit into 64 bits, got {whole}")
    return whole


def _no_number(name: str, value: Any, step: Any) -> TypeError:
    at = "" if step is None else f" at step {step}"
    return TypeError(
        f"metric {name} must be a number, got {type(value).__name__} {value!r:.80}{at}"
    )


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten a nested mapping; the keys become dotted names.

    Args:
        values: a mapping, whose values may be mappings; lists stay as they are.
        prefix: put before each name.
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = value
    return flat
