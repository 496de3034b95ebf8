"""Names and values in the form that MLflow accepts, without two becoming one."""

from __future__ import annotations

import posixpath
import re
import zlib

MAX_NAME = 250
"""Characters in a name; from `mlflow.utils.validation`."""
MAX_PARAM = 6000
"""Characters in the value of a parameter; from `mlflow.utils.validation`."""
MAX_TAG = 8000
"""Characters in the value of a tag; from `mlflow.utils.validation`."""


def legal_name(name: str) -> str:
    """A name of a metric, parameter or tag that MLflow accepts.

    A legal name stays as it is. Another is made legal and ends in the checksum of the original,
    so that two names never become one.
    """
    legal = (
        0 < len(name) <= MAX_NAME
        and re.fullmatch(r"[/\w.\- :]+", name, re.ASCII) is not None
        and posixpath.normpath(name) == name
        and not name.startswith(("/", "."))
    )
    if legal:
        return name
    words = re.sub(r"[^\w.\- :]+", "_", name, flags=re.ASCII).strip("._") or "name"
    return f"{words[: MAX_NAME - 9]}-{zlib.crc32(name.encode('utf-8', 'surrogatepass')):08x}"


def short_value(value: str, limit: int) -> str:
    """A value cut to `limit` characters, ending in the checksum of the whole if it was longer."""
    if len(value) <= limit:
        return value
    end = f"… ({len(value)} characters, crc32 {zlib.crc32(value.encode()):08x})"
    return value[: limit - len(end)] + end
