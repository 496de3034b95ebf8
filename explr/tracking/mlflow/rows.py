"""Sends the metrics, parameters, tags and data sets of a journal to MLflow as rows."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from explr.core.errors import TrackingError, one_line
from explr.tracking.mlflow.names import MAX_PARAM, MAX_TAG, legal_name, short_value
from explr.tracking.mlflow.private import insert_metrics
from explr.tracking.shipping.sink import dataset_name

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric
    from mlflow.exceptions import MlflowException


log = logging.getLogger(__name__)

BATCH_METRICS = 1000
BATCH_OTHERS = 100
"""The most rows that MLflow takes in one batch: metrics, and parameters or tags."""

REFUSED_TAG = "explr.refused"
"""Tag with the last row that MLflow refused."""

Kind = Literal["metrics", "params", "tags"]


class Rows:
    """Sends the rows of one run.

    Args:
        client: MLflow's client for the store.
        run_id: the run in MLflow.
        is_new: the run was just created, and has no parameters yet.

    Attributes:
        refused: metrics, parameters and data sets that MLflow has refused, by their names.
    """

    def __init__(self, client: MlflowClient, run_id: str, is_new: bool = False) -> None:
        self._client = client
        self._run_id = run_id
        self._params: dict[str, str] | None = {} if is_new else None
        self.refused: dict[str, set[Any]] = {}

    def send(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Send the rows of events.

        Raises:
            MlflowException: MLflow cannot take them now.
            TrackingError: the run was deleted in MLflow.
        """
        metrics: list[Metric] = []
        params: dict[str, str] = {}
        tags: dict[str, str] = {}
        for event in events:
            kind = event["k"]
            if kind == "metrics":
                metrics += _metrics(event)
            elif kind == "tags":
                tags |= {legal_name(n): short_value(v, MAX_TAG) for n, v in event["g"].items()}
            elif kind == "params":
                self._sort_params(event["p"], params, tags)
            elif kind == "input":
                self._log_input(event)
        self._log_all("metrics", metrics, BATCH_METRICS)
        self._send_params(params)
        self._send_tags(tags)

    def _log_input(self, event: Mapping[str, Any]) -> None:
        """Log a data set; MLflow has one of a name and checksum only once for a run."""
        from mlflow.entities import Dataset, DatasetInput, InputTag
        from mlflow.exceptions import MlflowException

        dataset = Dataset(**event["d"])
        tags = [InputTag(name, value) for name, value in event["g"].items()]
        try:
            self._client.log_inputs(self._run_id, [DatasetInput(dataset, tags)])
        except MlflowException as error:
            self._check_refused(error)
            self._note_refused(dataset_name(dataset.name, dataset.digest), dataset, error)

    def _send_params(self, params: dict[str, str]) -> None:
        from mlflow.entities import Param

        self._log_all("params", [Param(n, v) for n, v in params.items()], BATCH_OTHERS)

    def _send_tags(self, tags: dict[str, str]) -> None:
        from mlflow.entities import RunTag

        self._log_all("tags", [RunTag(n, v) for n, v in tags.items()], BATCH_OTHERS)

    def _sort_params(
        self, given: dict[str, str], params: dict[str, str], tags: dict[str, str]
    ) -> None:
        """Sort parameters into new ones and changed ones; MLflow takes the latter only as tags."""
        known = self._known_params()
        for name, value in given.items():
            key, short = legal_name(name), short_value(value, MAX_PARAM)
            if known.setdefault(key, short) == short:
                params[key] = short
            else:
                tags[legal_name(f"changed.{name}")] = short_value(value, MAX_TAG)

    def _known_params(self) -> dict[str, str]:
        if self._params is None:
            self._params = dict(self._client.get_run(self._run_id).data.params)
        return self._params

    def _log_all(self, kind: Kind, rows: Sequence[Any], width: int) -> None:
        for i in range(0, len(rows), width):
            self._log(kind, rows[i : i + width])

    def _log(self, kind: Kind, rows: Sequence[Any]) -> None:
        """Log a batch; if MLflow refuses a row, log the others."""
        from mlflow.exceptions import MlflowException

        batch: dict[str, Any] = {kind: rows}
        try:
            if kind != "metrics" or not insert_metrics(self._client, self._run_id, rows):
                self._client.log_batch(self._run_id, **batch, synchronous=True)
        except MlflowException as error:
            self._check_refused(error)
            if len(rows) > 1:
                half = len(rows) // 2
                self._log(kind, rows[:half])
                self._log(kind, rows[half:])
            else:
                self._give_up(kind, rows[0], error)

    def _check_refused(self, error: MlflowException) -> None:
        """Raise unless MLflow refuses what it was given for good."""
        if error.error_code not in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST"):
            raise error
        if self._client.get_run(self._run_id).info.lifecycle_stage == "deleted":
            raise TrackingError("the run was deleted in MLflow: restore it there") from error

    def _give_up(self, kind: Kind, row: Any, error: Exception) -> None:
        """Log a warning and a tag for a row that MLflow refuses for good; the journal keeps it."""
        if kind == "params":
            # It already has another value, perhaps set through MLflow's fluent API.
            self._params = None
            if row.key in self._known_params():
                self._send_tags({legal_name(f"changed.{row.key}"): row.value})
                return
        self._note_refused(row.key, row, error, is_tag=kind == "tags")

    def _note_refused(self, name: str, row: Any, error: Exception, is_tag: bool = False) -> None:
        reason = one_line(error)
        log.warning("MLflow refuses %s of run %s: %s", row, self._run_id, reason)
        if not is_tag:
            self.refused.setdefault(name, set()).add(repr(row))
        if name != REFUSED_TAG:
            self._send_tags({REFUSED_TAG: short_value(f"{name}: {reason}", MAX_TAG)})


def _metrics(event: Mapping[str, Any]) -> list[Metric]:
    from mlflow.entities import Metric

    step = event["s"] or 0
    return [Metric(legal_name(n), v, event["t"], step) for n, v in event["m"].items()]
