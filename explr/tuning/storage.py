"""Opens the storage of a study, for its controller or read-only."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explr.core.errors import (
    ConfigError,
    ExplrError,
    FileError,
    MissingDependencyError,
    UsageError,
)
from explr.core.folders import (
    COMMAND,
    FORMAT,
    RESULTS,
    check_format,
    replace_file,
    trials_that_ran,
)
from explr.core.secrets.masking import redacted_text
from explr.tuning.optuna_private import CREATE_STUDY, journal_storage

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage


log = logging.getLogger(__name__)

LOCK_TIMEOUT_S = 120.0
"""Seconds that a write waits for a locked SQLite database."""

FORMAT_ATTRIBUTE = "explr.format"
"""User attribute of a study: the version of explr's files."""

REMEDY = (
    "restore the study from a copy, delete the folder, or name another study with tuner.study_name"
)
"""What to do about a study that is damaged or gone."""

URLS = "sqlite:///study.db, postgresql://host/name or mysql+pymysql://host/name"
"""How storage URLs look like."""

STUDY_FILE = "study.journal"
"""File of the study in the sweep's folder."""


def open_study(folder: Path, name: str, directions: Sequence[str], url: str | None) -> Study:
    """Open or create the study of a sweep; the caller holds the sweep's lock.

    Args:
        folder: folder of the sweep.
        name: name of the study.
        directions: `minimize` or `maximize` for each objective.
        url: Optuna storage URL; None keeps a journal in `folder`.

    Raises:
        ConfigError: the study was started with other directions.
        FileError: the study is damaged, of a newer explr, or gone while the folder has its trials.
        UsageError: the storage cannot be used.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with _complaints(url):
        storage = open_storage(folder, url)
        names = optuna.get_all_study_names(storage)
        if url is None:  # the journal of a sweep contains one study, under any name
            name = next(iter(names), name)
        pruner = optuna.pruners.NopPruner()
        if name in names:
            study = optuna.load_study(study_name=name, storage=storage, pruner=pruner)
            _check_version(study)
            _check_trials(folder, study)
        else:
            _refuse_to_start_over(folder, f"the study {name} is not in tuner.storage")
            study = optuna.create_study(
                study_name=name,
                storage=storage,
                pruner=pruner,
                directions=list(directions),  # type: ignore[arg-type]
                load_if_exists=True,  # another sweep may have created it in the meantime
            )
    existing = [direction.name.lower() for direction in study.directions]
    if existing != list(directions):
        raise ConfigError(
            [
                f"the study {name} was started with objective.direction={','.join(existing)}, not "
                f"{','.join(directions)}: name another study with tuner.study_name"
            ]
        )
    if study.user_attrs.get(FORMAT_ATTRIBUTE) != FORMAT:
        study.set_user_attr(FORMAT_ATTRIBUTE, FORMAT)
    return study


def open_storage(folder: Path, url: str | None) -> BaseStorage:
    """Open the storage of a sweep; the caller holds the sweep's lock.

    Args:
        folder: folder of the sweep.
        url: Optuna storage URL; None keeps a journal in `folder`.

    Raises:
        FileError: the journal is damaged, or gone while the folder has its trials.
    """
    from optuna.storages import RDBStorage, get_storage

    if url is not None:
        if _is_sqlite(url):
            _check_folder_of(url)
            _make_private(url)
            return get_storage(RDBStorage(url, engine_kwargs=_patient()))
        return get_storage(url)
    path = folder / STUDY_FILE
    # Left by a controller that was killed while writing; the lock keeps other writers out.
    path.with_name(f"{STUDY_FILE}.lock").unlink(missing_ok=True)
    if not _begins_a_study(path):
        _refuse_to_start_over(folder, f"{path} is {'damaged' if path.exists() else 'gone'}")
    repair(path)
    try:
        return _sole_writer(path)
    except (ValueError, LookupError, TypeError, AssertionError) as error:
        raise FileError(f"{path} is damaged: {REMEDY}") from error


def _begins_a_study(path: Path) -> bool:
    """Whether a journal has the line that creates its study."""
    try:
        with path.open("rb") as file:
            return bool(json.loads(file.readline())["op_code"] == CREATE_STUDY)
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return False


def _refuse_to_start_over(folder: Path, why: str) -> None:
    """Refuse to create a study in the folder of a sweep that has run.

    Raises:
        FileError: the folder has files of a sweep.
    """
    left = [folder / COMMAND, folder / RESULTS]
    if any(file.exists() for file in left) or trials_that_ran(folder):
        raise FileError(f"{why}, and {folder} has the files of its sweep: {REMEDY}")


def _check_version(study: Study) -> None:
    """Check that this explr can read a study.

    Raises:
        FileError: a newer explr wrote it.
    """
    version = study.user_attrs.get(FORMAT_ATTRIBUTE, FORMAT)
    check_format(f"the study {study.study_name}", version)


def _check_trials(folder: Path, study: Study) -> None:
    """Check that the study knows every trial that has run in the sweep's folder.

    Raises:
        FileError: it does not.
    """
    if lost := lost_trials(folder, study):
        raise FileError(
            f"{incomplete(folder, study, lost)}: restore the study from a copy, move the folders "
            f"from {lost[0]} on away, or name another study with tuner.study_name"
        )


def lost_trials(folder: Path, study: Study) -> list[int]:
    """Numbers of the trials that have run in the sweep's folder, and that the study lacks."""
    return trials_that_ran(folder, len(study.get_trials(deepcopy=False)))


def incomplete(folder: Path, study: Study, lost: Sequence[int]) -> str:
    """What is wrong with a study that lacks trials, as the beginning of a sentence."""
    known = len(study.get_trials(deepcopy=False))
    return (
        f"the study of {folder} is damaged: it has {known} trials, and does not know trial "
        f"{lost[0]}, which has run"
    )


@contextmanager
def _complaints(url: str | None) -> Iterator[None]:
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


def cannot_write(path: Path, error: OSError) -> ExplrError:
    """An error that says why a file of a sweep cannot be written."""
    if error.errno == errno.ENOSPC:
        return ExplrError(f"no space left at {path}")
    return ExplrError(f"{path} cannot be written: {error.strerror or error}")


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


def _sole_writer(path: Path) -> BaseStorage:
    """Optuna's journal file without its lock and fsync, which are half of a trial's overhead.

    The sweep's lock keeps other writers out. Written lines survive a kill of the process, and after
    `Study.flush` a power cut too. It may cut off later ones; `repair` removes a torn one.
    """
    from optuna.storages.journal import JournalFileBackend

    lines = JournalLines(path)

    class SoleWriter(JournalFileBackend):
        read_logs = lines.read

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in logs)
            # Not "ab": if the sweep's folder was deleted, no new study is created.
            with open(path, "r+b", buffering=0) as file:
                whole = file.seek(0, os.SEEK_END)
                left = memoryview(text.encode())
                try:
                    while left:  # a full disk may accept only a part
                        left = left[file.write(left) :]
                except OSError as error:
                    file.truncate(whole)
                    raise cannot_write(path, error) from error

    with suppress(FileExistsError):  # Optuna would make a file that others may read
        path.touch(mode=0o600, exist_ok=False)
    return journal_storage(SoleWriter(str(path)), lines)


def repair(path: Path) -> None:
    """Remove a last line that a kill or a full disk left torn, and keep a copy of the file.

    Optuna cannot read a journal with a torn line.
    """
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    while whole:
        start = whole.rfind(b"\n", 0, -1) + 1
        try:
            json.loads(whole[start:])
            break
        except ValueError:
            whole = whole[:start]
    if len(whole) < len(content):
        backup = path.with_name(f"{path.name}.torn")
        shutil.copyfile(path, backup)
        replace_file(path, whole, private=False)
        lost = len(content) - len(whole)
        log.warning("%s ended in a torn line: %d bytes cut, kept in %s", path, lost, backup.name)


def read_study(folder: Path, url: str | None = None, name: str | None = None) -> Study:
    """Read the study of a sweep, without its lock and without writing.

    Args:
        folder: folder of the sweep.
        url: Optuna storage URL; None reads the journal in `folder`.
        name: name of the study; None takes the only one there is.

    Raises:
        UsageError: there is no study, or it cannot be read.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        # The journal of a sweep contains one study, under any name.
        study = optuna.load_study(
            study_name=None if url is None else name, storage=study_storage(folder, url)
        )
    except FileNotFoundError:
        raise UsageError(
            f"there is no study in {folder}: it has no {STUDY_FILE}, as the folder of a sweep "
            "with tuner=optuna or tuner=ray has"
        ) from None
    except Exception as error:  # databases and Optuna raise their own
        where = folder / STUDY_FILE if url is None else f"the storage that {folder} names"
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise UsageError(f"the study in {where} cannot be read: {said}") from error
    _check_version(study)
    return study


def study_storage(folder: Path, url: str | None = None) -> BaseStorage:
    """The storage of a sweep's study; the journal in a sweep's folder is opened read-only.

    Args:
        folder: folder of the sweep.
        url: Optuna storage URL; None reads the journal in `folder`, as it grows.

    Raises:
        FileNotFoundError: there is no journal.
    """
    from optuna.storages import get_storage
    from optuna.storages.journal import JournalFileBackend

    if url is not None:
        return get_storage(url)
    path = folder / STUDY_FILE
    if not path.exists():  # Optuna would make one
        raise FileNotFoundError(path)

    lines = JournalLines(path)

    class ReadOnly(JournalFileBackend):
        read_logs = lines.read

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            raise UsageError(f"{path} belongs to its sweep, and is opened read-only here")

    return journal_storage(ReadOnly(str(path)), lines)


class JournalLines:
    """Reads an Optuna journal, which may grow meanwhile, many lines at a time.

    Optuna keeps the position of each line, which makes millions of objects.

    Args:
        path: the journal.
    """

    AT_ONCE_BYTES = 1 << 20

    def __init__(self, path: Path) -> None:
        self._path = path
        # Number and position of the line after those that were read last, and of their first one:
        # who failed at an operation did not take all that was read.
        self._marks = [(0, 0), (0, 0)]

    def __iter__(self) -> Iterator[bytes]:
        """All lines, without a last one that is not complete."""
        return chain.from_iterable(self._read(0))

    def read(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """See `JournalFileBackend.read_logs`.

        Raises:
            ValueError: a line is damaged.
        """
        for lines in self._read(log_number_from):
            for line in lines:
                yield json.loads(line)

    def _read(self, number_from: int) -> Iterator[list[bytes]]:
        """Complete lines from a line number on."""
        marks = (mark for mark in (*self._marks, (0, 0)) if mark[0] <= number_from)
        number, position = next(marks)
        with self._path.open("rb") as file:
            file.seek(position)
            whole = True
            while whole and (lines := file.readlines(self.AT_ONCE_BYTES)):
                whole = lines[-1].endswith(b"\n")
                if not whole:  # it is being written, or its writer was killed
                    lines.pop()
                begin = (number, position)
                number, position = number + len(lines), position + sum(map(len, lines))
                self._marks = [(number, position), begin]
                yield lines[max(0, number_from - begin[0]) :]
