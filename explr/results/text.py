"""Formats numbers, durations and parameters for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from explr.core.secrets.masking import redacted


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


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
