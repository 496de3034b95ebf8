"""Journals that have not wholly reached MLflow, and how far each has come.

Every journal of a user is entered in `EXPLR_HOME/pending` when it is opened and struck off when
MLflow has all of it, so whatever was left behind is found again without searching for it.
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from explr.core.errors import TrackingError
from explr.tracking.home import explr_home
from explr.tracking.journal import uid_of


@dataclass(frozen=True)
class Entry:
    """A journal on its way to MLflow.

    Args:
        journal: absolute path of the journal.
        uri: tracking URI that it goes to.
        pid: process that writes it.
        started: start time of that process, in seconds since the epoch.
        host: machine that this process runs on.
    """

    journal: str
    uri: str
    pid: int
    started: float
    host: str

    @property
    def uid(self) -> str:
        """Identity of the run."""
        return uid_of(Path(self.journal))


@dataclass
class Position:
    """How far a journal has reached MLflow.

    Args:
        offset: bytes that were shipped.
        run_id: the run in MLflow, "" before it exists.
        experiment_id: its experiment in MLflow, "" before it exists.
        done: MLflow has all of it, its final status included.
        error: why the last attempt to ship failed, "" if it did not.
    """

    offset: int = 0
    run_id: str = ""
    experiment_id: str = ""
    done: bool = False
    error: str = ""


def enter(entry: Entry) -> None:
    """Put a journal on the list.

    Raises:
        TrackingError: EXPLR_HOME cannot be written.
    """
    try:
        folder = _pending()
        folder.mkdir(mode=0o700, exist_ok=True)
        _replace(folder / f"{entry.uid}.json", asdict(entry))
    except OSError as error:
        raise TrackingError(f"cannot write {_pending()}: {error.strerror}") from error


def strike_off(entry: Entry) -> None:
    """Take a journal off the list."""
    (_pending() / f"{entry.uid}.json").unlink(missing_ok=True)


def entries(uri: str | None = None) -> list[Entry]:
    """Journals on the list, those that were entered first before the others.

    Args:
        uri: only those that go to this tracking URI.
    """
    found: list[tuple[int, Entry]] = []
    folder = _pending()
    for path in folder.glob("*.json") if folder.is_dir() else ():
        try:
            entry = Entry(**json.loads(path.read_text()))
            found.append((path.stat().st_mtime_ns, entry))
        except FileNotFoundError:
            continue  # struck off meanwhile
        except (ValueError, TypeError) as error:
            raise TrackingError(f"{path} is not readable as JSON: {error}") from error
    return [e for _, e in sorted(found, key=lambda x: x[0]) if uri in (None, e.uri)]


def is_of_this_host(entry: Entry) -> bool:
    """Whether the writer's process can be looked up here."""
    return entry.host == socket.gethostname()


def read_position(journal: Path) -> Position:
    """How far `journal` has come; the start where nothing was shipped."""
    try:
        return Position(**json.loads(_position_file(journal).read_text()))
    except FileNotFoundError:
        return Position()


def write_position(journal: Path, position: Position) -> None:
    """Remember how far `journal` has come."""
    _replace(_position_file(journal), asdict(position))


def _position_file(journal: Path) -> Path:
    return journal.with_suffix(".position")


def _pending() -> Path:
    return explr_home() / "pending"


def _replace(path: Path, content: dict[str, Any]) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(content, file)
    aside.replace(path)
