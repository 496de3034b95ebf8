"""MLflow as a sink: a remote tracking server, or the local SQLite store and its server."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from explr.core.errors import ExplrError
from explr.core.secrets.shapes import without_user_info
from explr.tracking.home import is_local_store
from explr.tracking.mlflow import contents, logged_models, registry, store
from explr.tracking.mlflow.failures import is_locked, refusal
from explr.tracking.mlflow.first_look import first_look
from explr.tracking.mlflow.names import MAX_TAG, legal_file, legal_name, short_value
from explr.tracking.mlflow.rows import Rows
from explr.tracking.mlflow.timeouts import Patience
from explr.tracking.mlflow.upload import upload_file
from explr.tracking.server import MLflowServer, server_url
from explr.tracking.shipping.sink import (
    Contents,
    LoggedModel,
    Refused,
    RunStart,
    SinkLocked,
    SinkRun,
    SinkUnavailable,
    Status,
)

if TYPE_CHECKING:
    import sqlite3

    from mlflow import MlflowClient
    from mlflow.entities import Run

    from explr.tracking.shipping.sink import Sink

log = logging.getLogger(__name__)

PARENT_TAG = "mlflow.parentRunId"

OF_TRAININGS = "workflowType=machine_learning"
"""Has MLflow's UI show its pages for trainings; by default it has those for language models."""


class MLflowSink:
    """Writes runs to an MLflow store; see `Sink` for what the methods promise.

    Args:
        uri: tracking URI.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._client: MlflowClient | None = None
        self._rows: dict[str, Rows] = {}
        self._started_ms: dict[str, int] = {}
        """When the runs that were opened here began."""
        self._patience = Patience()
        self._is_served = False

    @property
    def uri(self) -> str:
        """The tracking URI."""
        return self._uri

    def look(self) -> str:
        """Ask the server whether it answers."""
        return first_look(self._uri)

    def connect(self, port: int | None = None, only_uploads: bool = False) -> None:
        """Open the store, and start the server of a local one, whose address is known at once."""
        if port is not None and not self._is_served:
            self._serve(port)
        if self._client is None:
            with self._failures():
                self._client = store.connect(self._uri, only_uploads)
            if port is not None and self._is_served:  # it may have been too early for it
                self._serve(port)

    def _serve(self, port: int) -> None:
        self._is_served = True
        if not is_local_store(self._uri):
            return
        try:
            state = MLflowServer(self._uri, port=port).start()
        except (ExplrError, OSError) as error:
            log.warning("no MLflow server: %s", error)
        else:
            log.info("MLflow is served at %s", state.url)

    def check(self) -> None:
        """Ask the store for an experiment."""
        with self._open() as client:
            client.search_experiments(max_results=1)

    def find(self, uid: str, experiment: str | None = None) -> SinkRun | None:
        """Look for the run that has our tag."""
        with self._open() as client:
            if experiment is None:
                ids = [str(found.experiment_id) for found in client.search_experiments()]
            else:
                found_id = store.find_experiment(client, experiment)
                ids = [] if found_id is None else [found_id]
            run = store.find_run(client, ids, uid) if ids else None
            return None if run is None else _seen(run)

    def open_run(self, start: RunStart) -> SinkRun:
        """Find the run that has our tag, or create it."""
        with self._open() as client:
            experiment_id = store.find_or_create_experiment(client, start.experiment, self._uri)
            run = store.find_run(client, [experiment_id], start.uid)
            is_new = run is None
            if run is None:
                tags = {legal_name(k): short_value(v, MAX_TAG) for k, v in start.tags.items()}
                tags[store.RUN_TAG] = start.uid
                if start.parent_id:
                    tags[PARENT_TAG] = start.parent_id
                name = short_value(start.name, MAX_TAG)
                run = client.create_run(experiment_id, start.started_ms, tags, name)
            elif start.resumed:
                client.update_run(run.info.run_id, status="RUNNING")
            seen = _seen(run)
            self._rows[seen.run_id] = Rows(client, seen.run_id, is_new)
            self._started_ms[seen.run_id] = run.info.start_time
            return seen

    def send(self, run_id: str, events: Sequence[Mapping[str, Any]]) -> None:
        """Log metrics, parameters, tags and data sets in batches."""
        with self._open() as client:
            self._rows.setdefault(run_id, Rows(client, run_id)).send(events)

    def upload(self, run_id: str, path: Path, folder: str) -> None:
        """Log an artifact."""
        with self._open(of_file=True) as client:
            upload_file(client, run_id, path, f"{folder}/{path.name}" if folder else path.name)

    def log_model(self, run_id: str, path: Path, model: LoggedModel) -> None:
        """Log a model; MLflow shows one that was refused as failed."""
        try:
            with self._open(of_file=True) as client:
                logged_models.log_model(client, run_id, path, model)
        except Refused:
            with self._open() as client:
                logged_models.give_up(client, run_id, path.name)
            raise

    def finish(self, run_id: str, status: Status, end_ms: int, parent_id: str = "") -> None:
        """Set the run's status and end."""
        with self._open() as client:
            started_ms = self._started_ms.pop(run_id, None)
            if started_ms is None or parent_id:
                run = client.get_run(run_id)
                started_ms = run.info.start_time
                if parent_id and PARENT_TAG not in run.data.tags:
                    client.set_tag(run_id, PARENT_TAG, parent_id, synchronous=True)
            client.set_terminated(run_id, status, max(end_ms, started_ms))

    def contents(self, run_id: str, wanted: Contents) -> Contents:
        """Count rows and names in the store."""
        legal = {name: legal_name(name) for name in (*wanted.rows, *wanted.params)}
        with self._open() as client:
            metrics = [legal[name] for name in wanted.rows]
            paths = {legal_file(path): path for path in wanted.artifacts}
            held = contents.held(client, self._file, run_id, metrics, paths)
            inputs, models = contents.linked(client, run_id, wanted)
        rows = self._rows.pop(run_id, None)
        refused = rows.refused if rows is not None else {}
        return Contents(
            {name: held.rows.get(legal[name], 0) for name in wanted.rows},
            {name for name in wanted.params if legal[name] in {*held.params, *refused}},
            {paths[path] for path in held.artifacts},
            {name: len(refused[legal[name]]) for name in wanted.rows if legal[name] in refused},
            inputs | (wanted.inputs & refused.keys()),
            models,
        )

    def register(self, run_id: str, model: Path, name: str, about: str) -> str:
        """Upload the model and make it a version with the alias `best`."""
        with self._open(of_file=True) as client:
            return registry.register(client, run_id, model, name, about)

    def address(self, experiment_id: str = "", run_id: str = "") -> str | None:
        """A page of MLflow's UI; None if the server of a local store does not run."""
        if self._ui is None:
            return None
        place = "/".join(filter(None, (experiment_id, experiment_id and "runs", run_id)))
        return f"{self._ui}/#/experiments/{place}".rstrip("/") + f"?{OF_TRAININGS}"

    def compared(self, experiment_id: str, run_id: str, minimize: bool) -> str | None:
        """The charts of a sweep's runs, the best ten of them shown."""
        if (page := self.address(experiment_id)) is None:
            return None
        query = {
            "compareRunsMode": "CHART",
            "orderByKey": "metrics.`objective`",
            "orderByAsc": str(minimize).lower(),
            "searchFilter": f"tags.`{PARENT_TAG}`='{run_id}'",
        }
        return f"{page}&{urlencode(query)}"

    @cached_property
    def _file(self) -> sqlite3.Connection | None:
        """A local store, opened to be read for as long as the sink is used."""
        if not is_local_store(self._uri):
            return None
        database = contents.open_file(self._uri)
        weakref.finalize(self, database.close)
        return database

    @cached_property
    def _ui(self) -> str | None:
        """Address of MLflow's UI, without a trailing slash."""
        url = server_url(self._uri)
        return None if url is None else without_user_info(url).rstrip("/")

    @contextmanager
    def _open(self, of_file: bool = False) -> Iterator[MlflowClient]:
        assert self._client is not None, "connect first"
        with self._failures(of_file):
            yield self._client

    @contextmanager
    def _failures(self, of_file: bool = False) -> Iterator[None]:
        """Turn what MLflow, databases and artifact stores raise into the sink's own errors.

        Args:
            of_file: the block uploads a file, or registers a model.
        """
        try:
            with self._patience.limited():
                yield
        except ExplrError:
            raise
        except Exception as error:
            if of_file and (refused := refusal(error)) is not None:
                raise refused from error
            if is_locked(error):
                raise SinkLocked(store.locked(self._uri)) from error
            raise SinkUnavailable(store.out_of_reach(self._uri, error)) from error


def _seen(run: Run) -> SinkRun:
    return SinkRun(
        run.info.run_id,
        str(run.info.experiment_id),
        PARENT_TAG in run.data.tags,
        run.info.status != "RUNNING",
    )


if TYPE_CHECKING:

    def _conforms(sink: MLflowSink) -> Sink:
        return sink
