"""Nested settings as the flat names that MLflow and its users expect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Give every leaf of a nested mapping its dotted name.

    Args:
        values: a mapping, whose values may be mappings; lists stay whole.
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
