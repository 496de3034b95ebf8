"""Turns names and values into what MLflow accepts; different names stay different."""

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

MAX_FILE = 255
"""Bytes in the name of a file or folder; what file systems take."""
MAX_ENDING = 20
"""Characters in what counts as the ending of a file name."""

_ILLEGAL = re.compile(r"[^/\w.\- :]+")
_ILLEGAL_IN_FILE = re.compile(r'[\\#%?:*"<>|]')
_RESERVED = ".artifact.uploading."
"""How MLflow's own unfinished files begin."""
_CHECKSUM = 9
"""Length of `-` and a checksum."""


def legal_name(name: str) -> str:
    """A name of a metric, parameter or tag that MLflow accepts.

    A legal name stays as it is. Any other name is made legal and gets the checksum of the original
    at its end, so that two names do not become the same one. The rules are those of
    `mlflow.utils.validation`.
    """
    if 0 < len(name) <= MAX_NAME and not _ILLEGAL.search(name) and _is_plain_path(name):
        return name
    parts = [part for part in _ILLEGAL.sub("_", name).split("/") if part not in ("", ".", "..")]
    words = "/".join(parts)[: MAX_NAME - _CHECKSUM].strip("./") or "name"
    return f"{words}-{_checksum(name)}"


def legal_file(path: str) -> str:
    """A path among the artifacts that MLflow's client, servers and stores take and list.

    A legal name of a folder or file stays as it is. Any other name, such as one with `#` or `%`, is
    made legal and gets the checksum of the original before its ending.
    """
    return "/".join(_legal_part(part) for part in path.split("/"))


def _legal_part(part: str) -> str:
    if _is_legal_part(part):
        return part
    plain = "".join(c if c.isprintable() else "_" for c in _ILLEGAL_IN_FILE.sub("_", part))
    stem, ending = posixpath.splitext(plain.rstrip(" ."))
    if len(ending) > MAX_ENDING:
        stem, ending = stem + ending, ""
    room = MAX_FILE - _CHECKSUM - len(ending.encode())
    stem = stem.strip(" .").encode()[:room].decode(errors="ignore")
    return f"{stem or 'name'}-{_checksum(part)}{ending}"


def _is_legal_part(part: str) -> bool:
    return (
        part.isprintable()
        and part == part.strip(" ").rstrip(".") != ""
        and len(part.encode()) <= MAX_FILE
        and not _ILLEGAL_IN_FILE.search(part)
        and not part.startswith(("..", _RESERVED))
    )


def folder_name(name: str) -> str:
    """A folder name of plain characters, different for each `name`."""
    plain = re.sub(r"[^\w.\-]+", "_", name, flags=re.ASCII).lstrip(".")[:100]
    return plain if plain and plain == name else f"{plain}-{_checksum(name)}"


def short_value(value: str, limit: int) -> str:
    """A value that MLflow accepts.

    Args:
        value: any text.
        limit: the longest length allowed; a longer value is cut and ends in its checksum.

    Returns:
        The text; NUL and lone surrogates, which no database takes, are escaped.
    """
    text = value.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
    if len(text) <= limit:
        return text
    end = f"… ({len(value)} characters, crc32 {_checksum(value)})"
    return text[: limit - len(end)] + end


def _is_plain_path(name: str) -> bool:
    return posixpath.normpath(name) == name and name != "." and not name.startswith(("..", "/"))


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode('utf-8', 'surrogatepass')):08x}"
