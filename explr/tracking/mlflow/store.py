"""MLflow's store: opens it, finds experiments and runs in it, explains why it is out of reach."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, chdir, closing, contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from explr.core.errors import TrackingError, holds_web_page, one_line, shortened
from explr.core.folders import drop_unfinished, flush, replacing
from explr.core.secrets.masking import redacted_text
from explr.tracking.home import artifact_root, ensure_home, explr_home, is_local_store
from explr.tracking.mlflow.failures import is_locked
from explr.tracking.mlflow.first_look import (
    FILE_STORES,
    LONGEST_URI,
    NO_JSON,
    UNREACHABLE,
    answered_page,
    no_answer,
    refused_folder,
)
from explr.tracking.mlflow.names import MAX_TAG, folder_name, short_value
from explr.tracking.mlflow.private import OTHER_SCHEMA, knows_schema
from explr.tracking.mlflow.variables import settle
from explr.tracking.shipping.sink import SinkLocked
from explr.utils.lock import file_lock

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


RUN_TAG = "explr.run"
"""Tag with explr's identity of a run, by which a run is found that was created before."""

LOCK_TIMEOUT_S = 20.0
"""How long to wait for a locked SQLite file, as MLflow does."""

FOR_MODELS = ("numpy", "pandas", "pyarrow", "scipy")
"""Packages that MLflow imports for its models and data sets. They take a third of its import and
of its memory, and it works without them: `mlflow-skinny` is the same code without these packages.
"""


def connect(uri: str, only_uploads: bool = False) -> MlflowClient:
    """MLflow's client for a store, with the variables that an upload relies on; see `variables`.

    Args:
        uri: address of the store.
        only_uploads: this process does nothing else with MLflow, which is then imported in part.

    Raises:
        MlflowException: the store cannot be opened.
        SinkLocked: another process has locked the file of a local store.
        TrackingError: that file is no database or cannot be opened.
    """
    if is_local_store(uri):
        _check_file(uri)
    ensure_home()
    settle(os.environ, uri)
    with hidden(unneeded(uri) if only_uploads else ()):
        from mlflow import MlflowClient

    with ExitStack() as stack:
        if is_local_store(uri):
            # Two processes that create the same store at the same time break it.
            stack.enter_context(file_lock(explr_home() / "store.lock"))
            # MLflow's default experiment keeps its artifacts below the working directory.
            stack.enter_context(chdir(explr_home()))
            _create(uri)
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
    return client


@contextmanager
def hidden(packages: Sequence[str]) -> Iterator[None]:
    """Let imports within the block find none of these packages, unless they are imported already.

    After the block they can be imported again.

    Args:
        packages: names of packages that are optional for what is imported.
    """
    modules: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
    names = [name for name in packages if name not in modules]
    modules.update(dict.fromkeys(names))  # at None, an import looks no further
    try:
        yield
    finally:
        for name in names:
            del modules[name]


def unneeded(uri: str) -> tuple[str, ...]:
    """Packages that MLflow imports and that no upload to a store needs.

    Unity Catalog's registry reads models. Plugins are imported with MLflow, and may need anything.

    Args:
        uri: address of the store.
    """
    places = (uri, os.environ.get("MLFLOW_REGISTRY_URI") or uri)
    plain = all(is_local_store(each) or each.startswith(("http://", "https://")) for each in places)
    return FOR_MODELS if plain and not _has_plugins() else ()


def _has_plugins() -> bool:
    found = entry_points()
    return any(
        not plugin.value.startswith(("mlflow.", "explr."))
        for group in found.groups
        if group.startswith("mlflow.")
        for plugin in found.select(group=group)
    )


def _create(uri: str) -> None:
    """Create a local store in one step, unless it is there.

    MLflow creates its tables and changes them some fifty times. A process that is killed meanwhile
    would leave a file that MLflow can neither use nor repair.
    """
    path = file_of(uri)
    if path.exists() and path.stat().st_size:
        return
    from mlflow import MlflowClient

    drop_unfinished(path.parent, f"{path.name}.")
    with replacing(path) as aside:
        MlflowClient(tracking_uri=f"sqlite:///{aside}").search_experiments(max_results=1)
        flush(aside)


def file_of(uri: str) -> Path:
    """The file of a local store."""
    return Path(uri.partition(":///")[2].partition("?")[0])


def _check_file(uri: str) -> None:
    """Fail at once for a file that is no database; MLflow would retry for more than a minute.

    Raises:
        SinkLocked: another process has locked it.
        TrackingError: it cannot be used.
    """
    path = file_of(uri)
    try:
        with closing(sqlite3.connect(path, timeout=LOCK_TIMEOUT_S)) as database:
            database.execute("PRAGMA schema_version")
    except sqlite3.Error as error:
        if is_locked(error):
            raise SinkLocked(locked(uri)) from error
        raise TrackingError(f"the MLflow store {path} cannot be used: {error}") from error


def locked(uri: str) -> str:
    """One line about a local store that another process has locked."""
    return f"the MLflow store {file_of(uri)} is locked by another process"


def out_of_reach(uri: str, error: BaseException) -> str:
    """One line that says why a store could not be used."""
    if FILE_STORES in str(error):
        return refused_folder(redacted_text(uri))
    uri = shortened(redacted_text(uri), LONGEST_URI)
    if (found := OTHER_SCHEMA.search(str(error))) is not None:
        return _other_version(uri, found["revision"])
    if NO_JSON in str(error) and holds_web_page(error):
        return answered_page(uri)
    cause: BaseException | None = error
    shown = error
    while cause is not None:
        if isinstance(cause, UNREACHABLE) and cause.strerror:
            return no_answer(uri, cause)
        reason = getattr(cause, "reason", None)  # where urllib3 keeps it
        if isinstance(reason, BaseException):  # the texts around it are long, and say less
            cause = shown = reason
        else:
            cause = cause.__cause__ or cause.__context__
    return one_line(error) if shown is error else shortened(f"{uri} fails: {one_line(shown)}")


def _other_version(uri: str, revision: str) -> str:
    """What to do about a database of another version of MLflow."""
    from mlflow.version import VERSION

    waits = "until then runs wait in their journals"
    if knows_schema(revision):
        remedy = f"run `mlflow db upgrade {uri}`"
        return f"{uri} was written by an older MLflow than {VERSION}: {remedy}; {waits}"
    return (
        f"{uri} was written by a newer MLflow than {VERSION}, which is installed here: "
        f"pip install --upgrade mlflow; {waits}"
    )


def find_experiment(client: MlflowClient, name: str) -> str | None:
    """Id of the experiment `name`; None if there is none.

    Raises:
        TrackingError: the experiment was deleted.
    """
    experiment = client.get_experiment_by_name(short_value(name, MAX_TAG))
    if experiment is None:
        return None
    if experiment.lifecycle_stage == "deleted":
        raise TrackingError(
            f"the MLflow experiment {name!r} was deleted: restore it in MLflow, "
            "or set another experiment_name"
        )
    return str(experiment.experiment_id)


def find_or_create_experiment(client: MlflowClient, name: str, uri: str) -> str:
    """Id of the experiment `name`; two processes that create it at once get the same one.

    Raises:
        TrackingError: the experiment was deleted.
    """
    from mlflow.exceptions import MlflowException

    found = find_experiment(client, name)
    if found is not None:
        return found
    name = short_value(name, MAX_TAG)
    location = (artifact_root() / folder_name(name)).as_uri() if is_local_store(uri) else None
    try:
        return str(client.create_experiment(name, artifact_location=location))
    except MlflowException as error:
        if error.error_code == "RESOURCE_ALREADY_EXISTS":  # another process was faster
            found = find_experiment(client, name)
        if found is None:
            raise
        return found


def find_run(client: MlflowClient, experiment_ids: Sequence[str], uid: str) -> Run | None:
    """The run with explr's identity `uid`; None if it was not created yet."""
    runs = client.search_runs(list(experiment_ids), f"tags.`{RUN_TAG}` = '{uid}'", max_results=1)
    return runs[0] if runs else None
