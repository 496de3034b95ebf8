"""Tables: their files, and the tag by which MLflow's pages find them."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from explr.core.errors import TrackingError
from explr.core.folders import replace_file
from explr.core.numbers import unboxed
from explr.tracking.journal.journal import first_event, uid_of
from explr.tracking.mlflow.names import MAX_TAG
from explr.tracking.values import listed

log = logging.getLogger("explr.tracking")

TAG = "mlflow.loggedArtifacts"
"""Tag with the list of a run's tables, as JSON."""

LIST = "tables.json"
"""File in the run's folder with the names of its tables, also for a later attempt at the run."""


class TableList:
    """The names of a run's tables, the oldest first; all attempts and processes share them.

    Args:
        journal: journal of the run; tables of an earlier run in its folder do not count.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._file = journal.parent / LIST

    def names(self) -> list[str]:
        """The names so far."""
        try:
            content = json.loads(self._file.read_bytes())
            return list(content["tables"]) if content["run"] == self._run() else []
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def write(self, names: Sequence[str]) -> None:
        """Replace the names.

        Raises:
            TrackingError: the file cannot be written.
        """
        try:
            replace_file(self._file, {"run": self._run(), "tables": [*names]}, private=False)
        except OSError as error:
            raise TrackingError(f"cannot write {self._file}: {error.strerror}") from error

    def _run(self) -> str:
        """The identity that all attempts at the run share."""
        return (first_event(self._journal) or {}).get("run") or uid_of(self._journal)


def tag_of(names: Sequence[str]) -> tuple[str, int]:
    """The value of `TAG`, which stays JSON: the newest tables of which it can hold all.

    Args:
        names: the tables, the oldest first.

    Returns:
        The value, and how many tables it lists.
    """
    listed: list[str] = []
    size = len("[]")
    for name in reversed(names):
        entry = json.dumps({"path": name, "type": "table"}, separators=(",", ":"))
        size += len(entry) + 1
        if size > MAX_TAG:
            break
        listed.append(entry)
    return f"[{','.join(reversed(listed))}]", len(listed)


def table_name(name: str | Path) -> str:
    """The name of a table's file, if MLflow shows a file of this name as a table.

    Raises:
        ValueError: it does not end in `.json`, or has characters that MLflow refuses.
    """
    text = str(name)
    if not text.endswith(".json") or set(text) & set("\"',:[]{}"):
        raise ValueError(
            f"log_table: the name ends in .json, and has none of \" ' , : [ ] {{ }}, got {text!r}"
        )
    return text


def table_text(data: Any, before: str | None) -> str:
    """A table as JSON in the form that pandas calls `split`, appended to an earlier table.

    Args:
        data: a mapping of columns and single values, or a pandas DataFrame.
        before: the table as it was written earlier; None if it is new.

    Raises:
        TypeError: it is no table.
        ValueError: its columns are not equally long.
    """
    columns = _columns(data)
    table = _earlier(before)
    names = [*table["columns"], *(name for name in columns if name not in table["columns"])]
    padding = len(names) - len(table["columns"])
    rows = [[*row, *([None] * padding)] for row in table["data"]]
    length = len(next(iter(columns.values()), ()))
    rows += [
        [_cell(columns[name][i]) if name in columns else None for name in names]
        for i in range(length)
    ]
    return json.dumps({"columns": names, "data": rows}, default=str, allow_nan=False)


def _earlier(text: str | None) -> dict[str, list[Any]]:
    try:
        if text:
            return dict(json.loads(text))
    except ValueError:
        log.warning("log_table: the earlier rows are lost, since a kill has damaged their file")
    return {"columns": [], "data": []}


def _columns(data: Any) -> dict[str, Sequence[Any]]:
    """Columns of equal length, by names of which each occurs once."""
    if hasattr(data, "columns") and hasattr(data, "iloc"):  # a DataFrame, perhaps with equal names
        given = [(name, data.iloc[:, i].tolist()) for i, name in enumerate(data.columns)]
    elif isinstance(data, Mapping):
        given = [(name, unboxed(values)) for name, values in data.items()]
    else:
        raise TypeError(f"log_table: data must be a mapping of columns, got {type(data).__name__}")
    lists = [values for _, values in given if _is_column(values)]
    length = len(lists[0]) if lists else 1
    columns: dict[str, Sequence[Any]] = {}
    for name, values in given:
        unique, number = str(name), 0
        while unique in columns:
            unique, number = f"{name}.{number + 1}", number + 1  # as pandas reads a file
        columns[unique] = values if _is_column(values) else [values] * length
    if len({len(values) for values in columns.values()}) > 1:
        lengths = ", ".join(f"{name}: {len(values)}" for name, values in columns.items())
        raise ValueError(f"log_table: the columns must be equally long, got {lengths}")
    return columns


def _is_column(values: Any) -> bool:
    return isinstance(values, Sequence) and not isinstance(values, (str, bytes, bytearray))


def _cell(value: Any) -> Any:
    """A value that JSON can hold; NaN becomes null, as pandas writes it."""
    if type(value) in (str, int, bool):
        return value
    value = listed(value)
    if isinstance(value, list):
        return [_cell(each) for each in value]
    if isinstance(value, dict):
        return {key: _cell(each) for key, each in value.items()}
    missing = type(value).__name__ in ("NaTType", "NAType")  # those of pandas
    return None if missing or (isinstance(value, float) and not math.isfinite(value)) else value
