"""Formats numbers, durations, parameters and curves for people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from explr.core.secrets.masking import redacted, redacted_text

BARS = "▁▂▃▄▅▆▇█"

LARGEST = 1e100
"""Largest number that a chart draws."""

DECADES = 100.0
"""Ratio of the largest to the smallest value from which an axis is logarithmic."""


def number(value: float) -> str:
    """A number with four significant digits."""
    return f"{value:.4g}"


def plain(value: Any) -> str:
    """The value of a parameter, numbers with four significant digits."""
    return number(value) if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """A duration as `m:ss` or `h:mm:ss`."""
    whole = int(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def brief(seconds: float) -> str:
    """A duration; below a minute in seconds with tenths."""
    return f"{seconds:.1f} s" if seconds < 60 else duration(seconds)


def params_text(params: Mapping[str, Any]) -> str:
    """Parameters on one line, without secrets."""
    return " ".join(f"{name}={_short(value)}" for name, value in redacted(dict(params)).items())


def param_texts(params: Mapping[str, Any]) -> dict[str, str]:
    """The text of each parameter on one line, without secrets."""
    return {
        name: redacted_text(" ".join(plain(value).splitlines()))
        for name, value in redacted(dict(params)).items()
    }


def sparkline(values: Sequence[float], width: int = 10) -> str:
    """A small curve.

    Args:
        values: the values in their order; what is not finite leaves a gap.
        width: the most columns.
    """
    columns = min(width, len(values))
    shown = [values[(i + 1) * len(values) // columns - 1] for i in range(columns)]
    finite = [value for value in shown if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    steps = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(
        BARS[round((value - low) * steps)] if math.isfinite(value) else " " for value in shown
    )


def spans_decades(values: Sequence[float]) -> bool:
    """Whether values want a logarithmic axis."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    return low > 1 / LARGEST and high / low >= DECADES


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
