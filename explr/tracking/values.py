"""Converts values of training code to what a journal holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


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
