"""Databases that a study may lie in, and what they say when they fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explr.core.errors import ExplrError, MissingDependencyError, UsageError
from explr.core.secrets.masking import redacted_text

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

LOCK_TIMEOUT_S = 120.0
"""Seconds that a write waits for a locked SQLite database."""

URLS = "sqlite:///study.db, postgresql://host/name or mysql+pymysql://host/name"
"""How storage URLs look like."""


def open_database(url: str) -> BaseStorage:
    """The storage of a study in a database; see `complaints` for what may go wrong.

    Args:
        url: Optuna storage URL.

    Raises:
        UsageError: the folder of its file is not there.
    """
    from optuna.storages import RDBStorage, get_storage

    if not _is_sqlite(url):
        return get_storage(url)
    _check_folder_of(url)
    _make_private(url)
    return get_storage(RDBStorage(url, engine_kwargs=_patient()))


@contextmanager
def complaints(url: str | None) -> Iterator[None]:
    """Say in one sentence why a storage cannot be used.

    Args:
        url: Optuna storage URL; None is the journal in the sweep's folder.

    Raises:
        UsageError: it cannot be used.
    """
    if url is None:
        yield
        return
    from optuna.exceptions import OptunaError
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    named = f"tuner.storage={redacted_text(url)}"
    try:
        yield
    except ImportError as error:  # Optuna's own, raised from that of the driver
        driver = getattr(error.__cause__, "name", None)
        what = f"the Python module {driver}" if driver else "a driver of this database"
        raise MissingDependencyError(f"{named} needs {what}, which is not installed") from error
    except (ArgumentError, NoSuchModuleError) as error:
        raise UsageError(f"{named} is no URL of a database: write it as {URLS}") from error
    except (OptunaError, SQLAlchemyError, RuntimeError, ValueError) as error:
        raise UsageError(f"{named} cannot be used: {_first_line(error)}") from error


@contextmanager
def storage_in_use(url: str | None) -> Iterator[None]:
    """Say in one sentence that the database of a study has failed while the sweep ran.

    Args:
        url: Optuna storage URL; None is the journal in the sweep's folder.

    Raises:
        ExplrError: it has.
    """
    if url is None:
        yield
        return
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        raise ExplrError(
            f"tuner.storage={redacted_text(url)} has failed: {_first_line(error)}; "
            "`explr resume` continues the sweep"
        ) from error


def _first_line(error: BaseException) -> str:
    """What a database says, without the statement and without secrets."""
    drivers = (getattr(each, "orig", None) for each in (error, error.__cause__))
    said = str(next(filter(None, drivers), error)).strip() or type(error).__name__
    return redacted_text(said.splitlines()[0].strip())


def _check_folder_of(url: str) -> None:
    """Check that the file of an SQLite database can be opened, as SQLite does not say why not.

    Raises:
        UsageError: its folder is not there, or it is a folder itself.
    """
    from sqlalchemy import make_url

    named = make_url(url).database or ":memory:"
    if named.startswith((":memory:", "file:")):  # no file, or one of SQLite's own URLs
        return
    path = Path(named).absolute()
    if not path.parent.is_dir():
        raise UsageError(f"tuner.storage={url}: there is no folder {path.parent}: create it first")
    if path.is_dir():
        raise UsageError(f"tuner.storage={url}: {path} is a folder: name a file in it")


def _make_private(url: str) -> None:
    """Make the file of a new database, so that only this user may read it."""
    path = url.partition(":///")[2].partition("?")[0]
    if path and path != ":memory:" and not path.startswith("file:"):
        with suppress(OSError):  # it is there; or SQLite says what is wrong with it
            Path(path).touch(mode=0o600, exist_ok=False)


def _is_sqlite(url: str) -> bool:
    return url.partition(":")[0].partition("+")[0] == "sqlite"


def _patient() -> dict[str, Any]:
    return {"connect_args": {"timeout": LOCK_TIMEOUT_S}}
