"""Opens the study of a sweep, for its controller or read-only."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from explr.core.errors import ConfigError, FileError, UsageError
from explr.core.folders import COMMAND, FORMAT, RESULTS, check_format, trials_that_ran
from explr.tuning.storage.database import complaints, open_database
from explr.tuning.storage.journal import STUDY_FILE, begins_a_study, read_only, repair, sole_writer

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage

log = logging.getLogger(__name__)

FORMAT_ATTRIBUTE = "explr.format"
"""User attribute of a study: the version of explr's files."""

REMEDY = (
    "restore the study from a copy, delete the folder, or name another study with tuner.study_name"
)
"""What to do about a study that is damaged or gone."""


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
    with complaints(url):
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
    if url is not None:
        return open_database(url)
    path = folder / STUDY_FILE
    # Left by a controller that was killed while writing; the lock keeps other writers out.
    path.with_name(f"{STUDY_FILE}.lock").unlink(missing_ok=True)
    if not begins_a_study(path):
        _refuse_to_start_over(folder, f"{path} is {'damaged' if path.exists() else 'gone'}")
    repair(path)
    try:
        return sole_writer(path)
    except (ValueError, LookupError, TypeError, AssertionError) as error:
        raise FileError(f"{path} is damaged: {REMEDY}") from error


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

    return read_only(folder / STUDY_FILE) if url is None else get_storage(url)
