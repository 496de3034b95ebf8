"""How far a journal was uploaded; stored in a small file beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from explr.core.errors import FileError
from explr.core.folders import read_json, replace_file


@dataclass
class Position:
    """How far a journal was uploaded.

    Args:
        offset: bytes that were uploaded.
        run_id: the run in MLflow, "" before it exists.
        experiment_id: its experiment in MLflow, "" before it exists.
        ended: MLflow has the run's final status.
        waiting: number of artifacts and models that are still to be uploaded; see `Items`.
        missing: a line about artifacts that MLflow will not have, "" if there are none.
        done: MLflow has all of it.
        error: why the last attempt failed, "" if it did not.
        stuck: a retry cannot succeed without a change by the user.
        observed: bytes that were uploaded of what the observer wrote.
        uri: tracking URI that it was uploaded to, without user and password.
        refused: number of rows by metric that MLflow has refused for good.
    """

    offset: int = 0
    run_id: str = ""
    experiment_id: str = ""
    ended: bool = False
    waiting: int = 0
    missing: str = ""
    done: bool = False
    error: str = ""
    stuck: bool = False
    observed: int = 0
    uri: str = ""
    refused: dict[str, int] = field(default_factory=dict)


def read_position(journal: Path) -> Position:
    """How far `journal` was uploaded; its start if that is not known.

    Uploading a journal again from its start adds nothing to MLflow.
    """
    try:
        return _position(read_json(position_file(journal)) or {})
    except (OSError, FileError, TypeError):
        return Position()


def write_position(journal: Path, position: Position) -> None:
    """Store how far `journal` was uploaded.

    Raises:
        OSError: it cannot be written beside the journal.
    """
    replace_file(position_file(journal), asdict(position))


def _position(content: Mapping[str, Any]) -> Position:
    """The content of a file, whichever version of explr wrote it."""
    position = Position()
    if content.get("owed"):  # of an older version, with paths that may lead nowhere by now
        return position
    for name, default in asdict(position).items():
        value = content.get(name, default)
        if type(value) is not type(default):
            raise TypeError(f"{name} is {value!r}")
        setattr(position, name, value)
    return position


def position_file(journal: Path) -> Path:
    """The file with the position of a journal."""
    return journal.with_suffix(".position")
