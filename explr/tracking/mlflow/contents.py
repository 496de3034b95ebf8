"""Counts what a run holds in MLflow, to compare it with what its journals hold."""

from __future__ import annotations

import os
import posixpath
import sqlite3
from collections.abc import Collection, Iterable
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from explr.core.errors import TrackingError
from explr.tracking.mlflow.logged_models import find_model
from explr.tracking.mlflow.private import count_rows
from explr.tracking.mlflow.store import LOCK_TIMEOUT_S, file_of
from explr.tracking.shipping.sink import Contents, dataset_name

if TYPE_CHECKING:
    from mlflow import MlflowClient


NOT_LISTED = (403, 404, 405, 501)
"""Statuses of the answer of an artifact store that lists nothing, or not to this user."""
REFUSALS = 3
"""So often a store says so before it is believed: a proxy may answer once like that."""


class Held(NamedTuple):
    """What a run holds, under the names that MLflow has."""

    rows: dict[str, int]
    params: AbstractSet[str]
    artifacts: AbstractSet[str]


def open_file(uri: str) -> sqlite3.Connection:
    """Open a local store to read it, which is much cheaper than to ask MLflow's client.

    Args:
        uri: address of the store.

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    address = f"{file_of(uri).as_uri()}?mode=ro"
    return sqlite3.connect(address, timeout=LOCK_TIMEOUT_S, uri=True, check_same_thread=False)


def held(
    client: MlflowClient,
    database: sqlite3.Connection | None,
    run_id: str,
    metrics: Iterable[str],
    paths: Collection[str],
) -> Held:
    """What a run holds.

    Args:
        client: MLflow's client for the store.
        database: a local store; None for any other.
        run_id: the run.
        metrics: the metrics whose rows are counted.
        paths: the artifacts that are looked for.

    Raises:
        TrackingError: the store does not have the run any more.
        MlflowException: the store does not answer.
    """
    if database is None:
        rows, params = _in_store(client, run_id, metrics)
        return Held(rows, params, _listed(client, run_id, paths))
    rows, params, root = _in_file(database, run_id)
    folder = _folder(root)
    if folder is None:
        return Held(rows, params, _listed(client, run_id, paths))
    return Held(rows, params, {path for path in paths if os.path.exists(f"{folder}/{path}")})


def linked(client: MlflowClient, run_id: str, wanted: Contents) -> tuple[set[str], set[str]]:
    """Data sets of a run, and those of the wanted models that it has and that are complete.

    Args:
        client: MLflow's client for the store.
        run_id: the run.
        wanted: what is looked for; nothing is asked if it has neither.
    """
    if not (wanted.inputs or wanted.models):
        return set(), set()
    run = client.get_run(run_id)
    inputs = [each.dataset for each in (run.inputs.dataset_inputs if run.inputs else ())]
    found = {name: find_model(client, run, name) for name in wanted.models}
    return (
        {dataset_name(each.name, each.digest) for each in inputs},
        {name for name, model in found.items() if model is not None and model.status == "READY"},
    )


def _in_file(database: sqlite3.Connection, run_id: str) -> tuple[dict[str, int], set[str], str]:
    """Rows by metric, parameters, and the address of the artifacts, out of an SQLite file."""
    query = "SELECT lifecycle_stage, artifact_uri FROM runs WHERE run_uuid = ?"
    run = database.execute(query, (run_id,)).fetchone()
    if run is None or run[0] == "deleted":
        raise _gone(run_id, deleted=run is not None)
    query = "SELECT key, COUNT(*) FROM metrics WHERE run_uuid = ? GROUP BY key"
    rows = dict(database.execute(query, (run_id,)).fetchall())
    query = "SELECT key FROM params WHERE run_uuid = ?"
    params = {key for (key,) in database.execute(query, (run_id,)).fetchall()}
    return rows, params, run[1] or ""


def _in_store(
    client: MlflowClient, run_id: str, metrics: Iterable[str]
) -> tuple[dict[str, int], set[str]]:
    """Rows by metric and parameters, through MLflow's client."""
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            raise _gone(run_id, deleted=False) from error
        raise
    if run.info.lifecycle_stage == "deleted":
        raise _gone(run_id, deleted=True)
    known = run.data.metrics
    rows = {name: count_rows(client, run_id, name) for name in metrics if name in known}
    return rows, set(run.data.params)


def _gone(run_id: str, deleted: bool) -> TrackingError:
    if deleted:
        return TrackingError("the run was deleted in MLflow: restore it there")
    return TrackingError(
        f"MLflow has no run {run_id} any more: remove the *.position beside its journal, and "
        "`explr sync FOLDER` uploads it as a new one"
    )


def _folder(address: str) -> str | None:
    """The folder of artifacts on this machine; None if they are elsewhere."""
    if address.startswith("file:"):
        return unquote(urlsplit(address).path)
    return address if address.startswith("/") else None


def _listed(client: MlflowClient, run_id: str, paths: Collection[str]) -> set[str]:
    """Those of some paths that a run has; all, if its artifacts cannot be listed."""
    found: set[str] = set()
    for folder in {posixpath.dirname(path) for path in paths}:
        listing = _listing(client, run_id, folder)
        if listing is None:
            return set(paths)  # each of them was acknowledged when it was uploaded
        found |= listing
    return found & set(paths)


def _listing(client: MlflowClient, run_id: str, folder: str) -> set[str] | None:
    """What a folder of a run's artifacts has; None if the store refuses to list, always."""
    for _ in range(REFUSALS):
        try:
            return {info.path for info in client.list_artifacts(run_id, folder or None)}
        except Exception as error:
            if not _lists_nothing(error):
                raise
    return None


def _lists_nothing(error: Exception) -> bool:
    """Whether an artifact store refuses to list at all."""
    if isinstance(error, NotImplementedError):
        return True
    status = getattr(error, "get_http_status_code", None)
    answer = getattr(error, "response", None)  # where `requests` and `boto3` keep it
    if isinstance(answer, dict):
        return answer.get("ResponseMetadata", {}).get("HTTPStatusCode") in NOT_LISTED
    code = status() if status is not None else getattr(answer, "status_code", None)
    return code in NOT_LISTED
