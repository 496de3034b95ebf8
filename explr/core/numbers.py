"""Reads numbers of any library: Python's own, NumPy's, and tensors on any device."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

MOST_VALUES = 100
"""The most rows that one metric makes, as one with a value for each class does."""


def one_number(value: Any) -> float:
    """A value as a float.

    Args:
        value: a number, or an array, tensor or list of one element.

    Raises:
        TypeError: it is not one number, or too large for a float.
    """
    if type(value) is float:
        return value
    (number, *more) = read_metric("", value).values()
    if more:
        raise TypeError(f"{described(value)} is not one number")
    return number


def read_metric(name: str, value: Any) -> dict[str, float]:
    """The rows of a metric.

    Args:
        name: name of the metric.
        value: a number, or an array, tensor or list of up to `MOST_VALUES` elements.

    Returns:
        One number under the metric's name; for several elements one of each, under
        `NAME/INDEX`, or `NAME/ROW/COLUMN` if there are two dimensions.

    Raises:
        TypeError: it cannot be read; the message starts with the value.
    """
    try:
        plain = value if type(value) is int else _checked(value)
        if type(plain) is float:
            return {name: plain}
        if not isinstance(plain, (list, tuple)):
            return {name: _as_float(plain)}
        rows: dict[str, float] = {}
        _add(name, plain, rows)
    except OverflowError as error:
        raise TypeError(f"{described(value)} {error}") from None
    except Exception as error:  # noqa: BLE001 - each library has its own
        fault = f" ({type(error).__name__})" if type(error) not in (TypeError, ValueError) else ""
        raise TypeError(f"{described(value)} is not a number{fault}") from None
    if not rows:
        raise TypeError(f"{described(value)} has no elements")
    return rows if len(rows) > 1 else {name: next(iter(rows.values()))}


def readable(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The rows of those metrics that can be read; see `read_metric`."""
    rows: dict[str, float] = {}
    for name, value in metrics.items():
        with suppress(TypeError):  # whoever records the metrics warns
            rows |= read_metric(str(name), value)
    return rows


def unboxed(value: Any) -> Any:
    """An array, tensor or number of a library as Python's own, in nested lists."""
    if (tolist := getattr(value, "tolist", None)) is not None:
        return tolist()
    return unboxed(value.numpy()) if hasattr(value, "numpy") else value  # TensorFlow, Keras


def described(value: Any) -> str:
    """Type and content of a value in a few words, for messages."""
    kind = type(value).__name__
    try:
        if shape := tuple(getattr(value, "shape", ())):
            return f"{kind} of shape {shape}"
        if isinstance(value, (list, tuple, dict)) and len(value) > MOST_VALUES:
            return f"{kind} of {len(value)} elements"
        short = value[:80] if isinstance(value, (str, bytes)) else value
        return f"{kind} {' '.join(repr(short).split()):.80}"
    except Exception:  # noqa: BLE001 - a value that cannot be shown has a type
        return kind


def _checked(value: Any) -> Any:
    shape = getattr(value, "shape", None)
    if shape and math.prod(shape) > MOST_VALUES:
        raise OverflowError(f"has more than {MOST_VALUES} elements")
    return unboxed(value)


def _add(name: str, value: Any, rows: dict[str, float]) -> None:
    plain = _checked(value)
    if isinstance(plain, (list, tuple)):
        for index, each in enumerate(plain):
            _add(f"{name}/{index}", each, rows)
        return
    if len(rows) == MOST_VALUES:
        raise OverflowError(f"has more than {MOST_VALUES} elements")
    rows[name] = _as_float(plain)


def _as_float(value: Any) -> float:
    if isinstance(value, (str, bytes, bytearray)):
        raise TypeError
    try:
        number = float(value)
    except OverflowError:
        raise OverflowError("is too large for a metric") from None
    if math.isinf(number) and value != number:
        raise OverflowError("is too large for a metric")
    return number
