"""Brings one journal to MLflow.

Shipping may stop at any point and begin again: the position is stored after each batch, events
carry their original times, and MLflow takes equal metric rows for one, so a replay adds nothing.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explr.tracking.journal import Read, read_events, uid_of
from explr.tracking.names import MAX_PARAM, MAX_TAG, legal_name, short_value
from explr.tracking.spool import read_position, write_position
from explr.tracking.store import RUN_TAG, find_or_create_experiment, find_run

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

BATCH_METRICS = 1000
BATCH_OTHERS = 100
"""Rows that MLflow takes in one batch: metrics, and parameters or tags."""


class Mirror:
    """Ships the events of one journal.

    Args:
        client: MLflow's client for the store.
        uri: tracking URI of the store.
        journal: the journal; it may still be growing.
    """

    def __init__(self, client: MlflowClient, uri: str, journal: Path) -> None:
        self._client = client
        self._uri = uri
        self._journal = journal
        self._uid = uid_of(journal)
        self._position = read_position(journal)
        self._params: dict[str, str] | None = None

    @property
    def done(self) -> bool:
        """Whether MLflow has the whole run and its final status."""
        return self._position.done

    def ship(self) -> bool:
        """Ship what the journal holds beyond the position.

        Returns:
            Whether anything was shipped.

        Raises:
            MlflowException, OSError: MLflow cannot take it now; call again later.
            TrackingError: MLflow cannot take it until somebody changes something there.
        """
        before = self._position.offset
        pending: list[Read] = []
        rows = 0
        for read in read_events(self._journal, before):
            kind = read.event["k"]
            if kind in ("start", "artifact", "end"):
                self._send(pending)
                pending, rows = [], 0
                if not self._apply(read.event):
                    break
                self._save(read.end)
                continue
            width = len(read.event["m"]) if kind == "metrics" else 0
            if rows + width > BATCH_METRICS:
                self._send(pending)
                pending, rows = [], 0
            pending.append(read)
            rows += width
        self._send(pending)
        return self._position.offset > before

    def close_as_killed(self) -> None:
        """Give the run of a process that died without a word its true status and end."""
        if self._position.run_id and not self.done:
            self._finish("KILLED", self._journal.stat().st_mtime_ns // 1_000_000)

    def fail(self, reason: str) -> None:
        """Remember why shipping failed, where the training's own process can read it."""
        if self._position.error != reason:
            self._position.error = reason
            write_position(self._journal, self._position)

    def _save(self, offset: int) -> None:
        self._position.offset = offset
        self._position.error = ""
        write_position(self._journal, self._position)

    def _apply(self, event: dict[str, Any]) -> bool:
        """Carry out an event that stands alone; False if it must wait for something."""
        if event["k"] == "start":
            return self._start(event)
        if event["k"] == "artifact":
            self._upload(Path(event["f"]), event["d"])
        else:
            self._finish(event["status"], event["t"])
        return True

    def _start(self, event: dict[str, Any]) -> bool:
        parent = self._parent_run_id(event)
        if parent is None:
            return False
        experiment_id = find_or_create_experiment(self._client, event["experiment"], self._uri)
        run = find_run(self._client, experiment_id, self._uid)
        if run is None:
            tags = {legal_name(k): short_value(v, MAX_TAG) for k, v in event["g"].items()}
            tags[RUN_TAG] = self._uid
            if parent:
                tags["mlflow.parentRunId"] = parent
            run = self._client.create_run(experiment_id, event["t"], tags, event["name"])
        self._position.run_id = run.info.run_id
        self._position.experiment_id = experiment_id
        return True

    def _parent_run_id(self, event: dict[str, Any]) -> str | None:
        """The parent's run id, "" without a parent, None while it is not there yet."""
        journal = event.get("parent")
        if journal is None:
            return ""
        if run_id := read_position(Path(journal)).run_id:
            return run_id
        experiment_id = find_or_create_experiment(self._client, event["experiment"], self._uri)
        run = find_run(self._client, experiment_id, uid_of(Path(journal)))
        if run is not None:
            return str(run.info.run_id)
        return None if Path(journal).exists() else ""

    def _send(self, reads: list[Read]) -> None:
        """Ship metrics, parameters and tags, and move the position past them."""
        from mlflow.entities import Metric, Param, RunTag

        if not reads:
            return
        metrics: list[Metric] = []
        tags: dict[str, str] = {}
        params: dict[str, str] = {}
        for event, _ in reads:
            if event["k"] == "metrics":
                step = event["s"] or 0
                metrics += [
                    Metric(legal_name(n), v, event["t"], step) for n, v in event["m"].items()
                ]
            elif event["k"] == "tags":
                tags |= {legal_name(n): short_value(v, MAX_TAG) for n, v in event["g"].items()}
            elif event["k"] == "params":
                self._take_params(event["p"], params, tags)
        run_id = self._position.run_id
        for i in range(0, len(metrics), BATCH_METRICS):
            self._client.log_batch(run_id, metrics=metrics[i : i + BATCH_METRICS])
        rows = [Param(n, v) for n, v in params.items()]
        for i in range(0, len(rows), BATCH_OTHERS):
            self._client.log_batch(run_id, params=rows[i : i + BATCH_OTHERS])
        marks = [RunTag(n, v) for n, v in tags.items()]
        for i in range(0, len(marks), BATCH_OTHERS):
            self._client.log_batch(run_id, tags=marks[i : i + BATCH_OTHERS])
        self._save(reads[-1].end)

    def _take_params(
        self, event: dict[str, str], params: dict[str, str], tags: dict[str, str]
    ) -> None:
        """Sort parameters into new ones, and changed ones, which MLflow only takes as tags."""
        if self._params is None:
            self._params = dict(self._client.get_run(self._position.run_id).data.params)
        for name, value in event.items():
            key, short = legal_name(name), short_value(value, MAX_PARAM)
            if self._params.setdefault(key, short) == short:
                params[key] = short
                if short != value:
                    self._client.log_text(self._position.run_id, value, f"params/{key}.txt")
            else:
                tags[legal_name(f"changed.{name}")] = short_value(value, MAX_TAG)

    def _upload(self, path: Path, folder: str) -> None:
        run_id = self._position.run_id
        if path.is_dir():
            inner = f"{folder}/{path.name}" if folder else path.name
            self._client.log_artifacts(run_id, str(path), inner)
        elif path.is_file():
            self._client.log_artifact(run_id, str(path), folder or None)
        else:
            log.warning("%s is gone: it is missing among the artifacts of run %s", path, run_id)

    def _finish(self, status: str, end_ms: int) -> None:
        start = next(read_events(self._journal)).event
        for path in map(Path, start["last"]):
            if path.exists():
                self._upload(path, "")
        self._client.set_terminated(self._position.run_id, status, end_ms)
        self._position.done = True
        write_position(self._journal, self._position)
