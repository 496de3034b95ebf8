"""Values and texts in Hydra's override grammar."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hydra.core.override_parser.types import QuotedString


def literal(value: Any) -> str:
    """A value in Hydra's override grammar, such that parsing it gives the value back."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_key(str(k))}:{literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(literal(item) for item in value) + "]"
    return quoted(str(value))


def _key(text: str) -> str:
    """A key of a mapping, which Hydra's grammar takes without quotes only."""
    return re.sub(r"([\\()\[\]{}:=, \t])", r"\\\1", text)


def quoted(text: str) -> str:
    """A text in quotes of Hydra's override grammar."""
    from hydra.core.override_parser.types import Quote

    return QuotedString(text, Quote.double).with_quotes()
