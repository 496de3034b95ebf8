"""A study as it stands, for whoever only looks: a sweep may be running in it meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from explr.core.errors import UsageError
from explr.tuning.storage import STUDY_FILE

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage


def read_study(folder: Path, url: str | None = None, name: str | None = None) -> Study:
    """The study of a sweep, without a lock and without writing anything.

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
        if url is not None:
            return optuna.load_study(study_name=name, storage=url)
        # A sweep's own journal holds one study, whatever it is called.
        return optuna.load_study(study_name=None, storage=study_storage(folder))
    except FileNotFoundError:
        raise UsageError(
            f"there is no study in {folder}: it has no {STUDY_FILE}, as the folder of a sweep "
            "with tuner=optuna or tuner=ray has"
        ) from None
    except Exception as error:  # databases and Optuna raise their own
        where = folder / STUDY_FILE if url is None else f"the storage that {folder} names"
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise UsageError(f"the study in {where} cannot be read: {said}") from error


def study_storage(folder: Path, url: str | None = None) -> BaseStorage:
    """The storage of a sweep's study, which is only looked at where it is the sweep's own journal.

    Args:
        folder: folder of the sweep.
        url: Optuna storage URL; None reads the journal in `folder`, as it grows.

    Raises:
        FileNotFoundError: there is no journal.
    """
    from optuna.storages import JournalStorage, get_storage
    from optuna.storages.journal import JournalFileBackend

    if url is not None:
        return get_storage(url)
    path = folder / STUDY_FILE
    if not path.exists():  # Optuna would make one
        raise FileNotFoundError(path)

    class OnlyLooks(JournalFileBackend):
        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            raise UsageError(f"{path} belongs to its sweep, and is only looked at from here")

    return JournalStorage(OnlyLooks(str(path)))
