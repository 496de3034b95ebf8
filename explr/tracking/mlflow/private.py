"""Every use of MLflow that it does not document.

Read in MLflow 3.13.0 and 3.17.2. On an upgrade this file is the one to read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from typing import TYPE_CHECKING, Any

from explr.utils.environment import environment, past_proxies

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

ACTIVE = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID")
"""Variables that say where MLflow's fluent calls go; child processes inherit them."""


@contextmanager
def fluent_calls_to(uri: str, experiment_id: str) -> Iterator[None]:
    """Have MLflow's fluent calls go to a store and an experiment within the block, past proxies.

    MLflow holds both in globals and in environment variables, and has no public way to put them
    back. Read in 3.17.2.

    Args:
        uri: tracking URI of the store.
        experiment_id: the experiment of runs that are started.
    """
    import mlflow.tracking

    fluent: Any = mlflow.tracking.fluent
    service: Any = mlflow.tracking._tracking_service.utils
    uri_before, experiment_before = service._tracking_uri, fluent._active_experiment_id
    variables = {**dict.fromkeys(ACTIVE), "MLFLOW_EXPERIMENT_ID": experiment_id}
    with environment({**variables, **past_proxies(os.environ, uri)}):
        try:
            service.set_tracking_uri(uri)
            fluent._active_experiment_id = experiment_id
            yield
        finally:
            service.set_tracking_uri(uri_before)
            fluent._active_experiment_id = experiment_before


@contextmanager
def replaced(uri: str, replace: Callable[[Any], dict[str, Any]]) -> Iterator[None]:
    """Replace methods of the store that MLflow's clients use for a tracking URI within the block.

    Every client of a process shares one store object for a URI. Its queue for asynchronous logging
    has a reference to `log_batch` of its own. Read in 3.17.2.

    Args:
        uri: tracking URI of the store.
        replace: takes the store, returns the new methods by name, `log_batch` among them.
    """
    from mlflow.tracking import _get_store

    store: Any = _get_store(uri)  # type: ignore[no-untyped-call]
    queue = store._async_logging_queue
    methods = replace(store)
    logging_func = queue._logging_func
    vars(store).update(methods)
    queue._logging_func = methods["log_batch"]
    try:
        yield
    finally:
        store.shut_down_async_logging()  # what was logged before the end of the block
        queue._logging_func = logging_func
        for name in methods:
            del vars(store)[name]


def insert_metrics(client: MlflowClient, run_id: str, metrics: Sequence[Metric]) -> bool:
    """Insert metrics into an SQLite store in one transaction, with one statement for each table.

    `log_batch` makes three objects of each row, and takes four times as long. Rows that are there
    stay as they are, and the latest one of a metric is chosen by step, time and value, as there.
    Read in 3.13.0 and 3.17.2.

    Returns:
        False if nothing was inserted, and `log_batch` says why: the store is another one, the run
        was deleted, or a row is refused.
    """
    store = client._tracking_client.store
    if type(store).__name__ != "SqlAlchemyStore" or store.engine.dialect.name != "sqlite":
        return False
    from mlflow.exceptions import MlflowException
    from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlMetric, SqlRun
    from mlflow.utils.validation import _validate_metric
    from sqlalchemy import select, tuple_
    from sqlalchemy.dialects.sqlite import insert
    from sqlalchemy.exc import SQLAlchemyError

    rows: list[dict[str, Any]] = []
    latest: dict[str, tuple[tuple[int, int, float], dict[str, Any]]] = {}
    upsert = insert(SqlLatestMetric)
    new, old = upsert.excluded, SqlLatestMetric
    upsert = upsert.on_conflict_do_update(
        index_elements=["key", "run_uuid"],
        set_={name: new[name] for name in ("value", "timestamp", "step", "is_nan")},
        where=tuple_(new.step, new.timestamp, new.value)
        > tuple_(old.step, old.timestamp, old.value),
    )
    try:
        for metric in metrics:
            key, time, step = metric.key, metric.timestamp, metric.step
            _validate_metric(key, metric.value, time, step)  # type: ignore[no-untyped-call]
            is_nan, value = store.sanitize_metric_value(metric.value)
            row = dict(
                run_uuid=run_id, key=key, value=value, timestamp=time, step=step, is_nan=is_nan
            )
            rows.append(row)
            if key not in latest or (step, time, value) > latest[key][0]:
                latest[key] = (step, time, value), row
        with store.engine.begin() as connection:
            run: Any = select(SqlRun.lifecycle_stage).where(SqlRun.run_uuid == run_id)
            if connection.scalar(run) != "active":
                return False
            connection.execute(insert(SqlMetric).on_conflict_do_nothing(), rows)
            connection.execute(upsert, [row for _, row in latest.values()])
    except (MlflowException, SQLAlchemyError):
        return False
    return True


def count_rows(client: MlflowClient, run_id: str, metric: str) -> int:
    """How many rows a metric of a run has.

    They are read in pages, since there may be millions. `get_metric_history` of the client holds
    all of them at once; that of its store gives pages. Read in 3.17.2.
    """
    from mlflow.store.tracking import GET_METRIC_HISTORY_MAX_RESULTS

    store = client._tracking_client.store
    count, token = 0, None
    while True:
        page = store.get_metric_history(run_id, metric, GET_METRIC_HISTORY_MAX_RESULTS, token)
        count += len(page)
        token = page.token
        if not token:
            return count


OTHER_SCHEMA = re.compile(r"out-of-date database schema \(found version (?P<revision>\w+)")
"""What MLflow says of a database of another version, older or newer. Read in 3.17.2."""


def knows_schema(revision: str) -> bool:
    """Whether this MLflow has, or had, a schema of its databases. Read in 3.13.0 and 3.17.2.

    Args:
        revision: what Alembic calls the schema.
    """
    versions = resources.files("mlflow.store.db_migrations") / "versions"
    return any(file.name.startswith(revision) for file in versions.iterdir())
