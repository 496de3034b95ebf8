"""MLflow's store: how it is opened, and how experiments and runs are found again in it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import ExitStack, chdir, closing
from typing import TYPE_CHECKING

from explr.core.errors import TrackingError
from explr.core.secrets import redacted_text
from explr.tracking.home import artifact_root, explr_home, is_local_store
from explr.tracking.mlflow.names import MAX_TAG, folder_name, short_value

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


RUN_TAG = "explr.run"
"""Tag that carries a run's identity from before it exists in MLflow."""

LOCK_TIMEOUT_S = 20.0
"""How long a locked SQLite file is waited for; as long as MLflow does."""


def connect(uri: str) -> MlflowClient:
    """MLflow's client for a store, with short time-outs and no telemetry.

    Raises:
        MlflowException: the store cannot be opened.
        TrackingError: it is a file that is no database, or cannot be opened.
    """
    if is_local_store(uri):
        _check_file(uri)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    # A request whose reply was lost may have made a run. MLflow would send it again and make
    # another one; who ships looks the run up by its tag before that.
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    from mlflow import MlflowClient

    with ExitStack() as stack:
        if is_local_store(uri):
            from filelock import FileLock

            # Two processes that make one store at the same time break it for each other.
            stack.enter_context(FileLock(explr_home() / "store.lock"))
            # Its own experiment keeps artifacts below the folder that it was made in.
            stack.enter_context(chdir(explr_home()))
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
    return client


def _check_file(uri: str) -> None:
    """Fail at once where MLflow would try again for more than a minute."""
    path = uri.partition(":///")[2].partition("?")[0]
    try:
        with closing(sqlite3.connect(path, timeout=LOCK_TIMEOUT_S)) as database:
            database.execute("PRAGMA schema_version")
    except sqlite3.Error as error:
        raise TrackingError(f"the MLflow store {path} cannot be used: {error}") from error


def out_of_reach(uri: str, error: BaseException) -> str:
    """Why a store could not be used, in one line."""
    uri = redacted_text(uri)
    cause: BaseException | None = error
    while cause is not None:
        reason = getattr(cause, "reason", None)  # where urllib3 keeps it
        if isinstance(cause, ConnectionRefusedError):
            return f"{uri} does not answer: connection refused"
        cause = (
            reason if isinstance(reason, BaseException) else cause.__cause__ or cause.__context__
        )
    return one_line(error)


def one_line(error: BaseException) -> str:
    """The first line of what an error says, or its kind where it says nothing."""
    return redacted_text(next(iter(str(error).splitlines()), "")) or type(error).__name__


def find_or_create_experiment(client: MlflowClient, name: str, uri: str) -> str:
    """Id of the experiment `name`; two processes that create it at once get the same one.

    Raises:
        TrackingError: the experiment was deleted.
    """
    from mlflow.exceptions import MlflowException

    name = short_value(name, MAX_TAG)
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        location = (artifact_root() / folder_name(name)).as_uri() if is_local_store(uri) else None
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            experiment = client.get_experiment_by_name(name)
    if experiment is None or experiment.lifecycle_stage == "deleted":
        raise TrackingError(
            f"the MLflow experiment {name!r} was deleted: restore it in MLflow, "
            "or set another experiment_name"
        )
    return str(experiment.experiment_id)


def find_run(client: MlflowClient, experiment_ids: Sequence[str], uid: str) -> Run | None:
    """The run that carries our identity `uid`, if it was created before."""
    runs = client.search_runs(list(experiment_ids), f"tags.`{RUN_TAG}` = '{uid}'", max_results=1)
    return runs[0] if runs else None


def close_lost_run(client: MlflowClient, uid: str, end_ms: int) -> None:
    """End the run of a journal that was deleted before MLflow had all of it."""
    ids = [str(experiment.experiment_id) for experiment in client.search_experiments()]
    run = find_run(client, ids, uid)
    if run is not None and run.info.status == "RUNNING":
        client.set_tag(run.info.run_id, "explr.lost", "the run's journal was deleted")
        client.set_terminated(run.info.run_id, "KILLED", end_ms)
