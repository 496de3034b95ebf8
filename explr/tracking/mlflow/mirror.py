"""Brings one journal to MLflow.

Shipping may stop at any point and begin again: the position is stored after each batch, events
carry their original times, and MLflow takes equal metric rows for one, so a replay adds nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from explr.core.errors import TrackingError
from explr.tracking.journal.journal import VERSION, first_event, read_events, uid_of
from explr.tracking.journal.position import read_position, write_position
from explr.tracking.mlflow.names import MAX_TAG, legal_name, short_value
from explr.tracking.mlflow.rows import BATCH_METRICS, Rows
from explr.tracking.mlflow.store import RUN_TAG, find_or_create_experiment, find_run
from explr.tracking.mlflow.uploads import Uploads
from explr.tracking.shipping.observer import is_awaited, observed_file

if TYPE_CHECKING:
    from mlflow import MlflowClient


PARENT_TAG = "mlflow.parentRunId"
SHARE_BYTES = 1_000_000
"""How much of one journal is shipped before others have their turn."""


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
        if self._position.offset > journal.stat().st_size:
            self._position.offset = 0
        self._exhausted_at = (-1, -1)
        self._observed: Path | None = None
        self._awaits = False
        self._has_parent = False
        self._uploads = Uploads(client, self._position)
        self._rows = Rows(client, self._position.run_id)

    @property
    def run_id(self) -> str:
        """The run in MLflow, "" before it exists."""
        return self._position.run_id

    @property
    def done(self) -> bool:
        """Whether MLflow has the whole run, its final status and its artifacts."""
        return self._position.done

    @property
    def awaits(self) -> bool:
        """Whether the run's end was there, and waits for what is yet to be noted beside it."""
        return self._awaits

    def ship(self) -> bool:
        """Ship a share of what the journal holds beyond the position.

        Returns:
            Whether anything was shipped; if not, nothing more can be done for now.

        Raises:
            MlflowException, OSError: MLflow cannot take it now; call again later.
            TrackingError: MLflow cannot take it until somebody changes something there.
        """
        size = (self._journal.stat().st_size, self._observed_size())
        if size == self._exhausted_at and not self._position.owed:
            return False
        self._awaits = False
        before = self._position.offset
        uploaded = self._uploads.retry()
        events: list[dict[str, Any]] = []
        rows, end = 0, before
        for event, after in read_events(self._journal, before):
            if event.get("k") in ("start", "artifact", "register", "end"):
                self._send(events, end)
                events, rows = [], 0
                if not self._apply(event):
                    break
                self._save(after)
            else:
                events.append(event)
                rows += max(len(event.get("m", ())), 1)
            end = after
            if rows >= BATCH_METRICS:
                self._send(events, end)
                events, rows = [], 0
            if end - before > SHARE_BYTES:
                break
        self._send(events, end)
        observed = self._ship_observed()
        if uploaded or observed or self._is_complete():
            self._save(self._position.offset)
        moved = uploaded or observed or self._position.offset > before
        if not moved and self.run_id and not self._awaits:
            self._exhausted_at = size
        return moved

    def close_as_killed(self) -> None:
        """Give the run of a process that died without a word its true status and end."""
        if self.run_id and not self._position.ended:
            # A file's time comes from a clock that may be some milliseconds behind that of events.
            begun_ms = (first_event(self._journal) or {}).get("t", 0)
            written_ms = self._journal.stat().st_mtime_ns // 1_000_000
            self._finish("KILLED", max(written_ms, begun_ms))
            self._save(self._position.offset)

    def fail(self, reason: str, stuck: bool) -> None:
        """Remember why shipping failed, where the training's own process can read it.

        Args:
            reason: one line.
            stuck: it will fail again until somebody changes something.

        Raises:
            OSError: it cannot be written beside the journal.
        """
        if (self._position.error, self._position.stuck) != (reason, stuck):
            self._position.error, self._position.stuck = reason, stuck
            write_position(self._journal, self._position)

    def _save(self, offset: int) -> None:
        self._position.offset = offset
        self._position.error, self._position.stuck = self._uploads.error, False
        self._position.done = self._is_complete()
        write_position(self._journal, self._position)

    def _is_complete(self) -> bool:
        return self._position.ended and not self._position.owed

    def _send(self, events: list[dict[str, Any]], end: int) -> None:
        """Ship rows, and move the position past them."""
        if not events:
            return
        if not self.run_id:
            raise TrackingError(
                f"the beginning of {self._journal} is damaged: without it MLflow cannot be told "
                "which run it is"
            )
        self._rows.send(events)
        self._save(end)

    def _apply(self, event: dict[str, Any]) -> bool:
        """Carry out an event that stands alone; False if it must wait for something."""
        if event["k"] == "start":
            return self._start(event)
        if event["k"] == "artifact":
            self._uploads.upload(self._journal.parent / event["f"], event["d"])
        elif event["k"] == "register":
            model, run = (str(self._journal.parent / event[key]) for key in ("model", "run"))
            self._uploads.register(model, event["name"], run, event["about"])
        else:
            self._awaits = is_awaited(self._journal, first_event(self._journal) or {})
            if self._awaits:
                return False
            self._ship_observed()
            self._finish(event["status"], event["t"])
        return True

    def _ship_observed(self) -> bool:
        """Ship what the companion of the training wrote down beside the journal."""
        if not self.run_id or self._observed_size() <= self._position.observed:
            return False
        assert self._observed is not None
        events: list[dict[str, Any]] = []
        end = self._position.observed
        for event, after in read_events(self._observed, end):
            if event["k"] == "artifact":
                self._uploads.upload(self._journal.parent / event["f"], event["d"])
            else:
                events.append(event)
            end = after
        self._rows.send(events)
        moved = end > self._position.observed
        self._position.observed = end
        return moved

    def _observed_size(self) -> int:
        """Bytes of what was observed; only a run with a companion of its own is."""
        if self._observed is None:
            if (first_event(self._journal) or {}).get("observe") is None:
                return 0
            self._observed = observed_file(self._journal)
        return self._observed.stat().st_size if self._observed.exists() else 0

    def _start(self, event: dict[str, Any]) -> bool:
        if event["v"] > VERSION:
            raise TrackingError(f"{self._journal} was written by a newer version of explr")
        parent = self._parent_run_id(event)
        if parent is None or self._earlier_attempt_is_open(event):
            return False
        experiment_id = find_or_create_experiment(self._client, event["experiment"], self._uri)
        uid = event.get("run") or self._uid
        run = find_run(self._client, [experiment_id], uid)
        if run is not None and event.get("after"):
            self._client.update_run(run.info.run_id, status="RUNNING")
        is_new = run is None
        if run is None:
            tags = {legal_name(k): short_value(v, MAX_TAG) for k, v in event["g"].items()}
            tags[RUN_TAG] = uid
            if parent:
                tags[PARENT_TAG] = parent
            name = short_value(event["name"], MAX_TAG)
            run = self._client.create_run(experiment_id, event["t"], tags, name)
        self._position.run_id = run.info.run_id
        self._position.experiment_id = experiment_id
        self._rows = Rows(self._client, self.run_id, is_new)
        self._has_parent = bool(is_new and parent)
        return True

    def _earlier_attempt_is_open(self, event: dict[str, Any]) -> bool:
        """Whether the attempt before this one is yet to be closed in MLflow."""
        before = self._journal.parent / event["after"] if event.get("after") else None
        return before is not None and before.exists() and not read_position(before).ended

    def _parent_run_id(self, event: dict[str, Any]) -> str | None:
        """The parent's run id, "" if there is none to be known, None while it is not there yet."""
        if event.get("parent") is None:
            return ""
        journal = Path(event["parent"])
        if run_id := read_position(journal).run_id:
            return run_id
        start = first_event(journal)
        experiment = start["experiment"] if start else event["experiment"]
        experiment_id = find_or_create_experiment(self._client, experiment, self._uri)
        uid = start.get("run") if start else None
        run = find_run(self._client, [experiment_id], uid or uid_of(journal))
        if run is not None:
            return str(run.info.run_id)
        return None if start else ""

    def _finish(self, status: str, end_ms: int) -> None:
        start = first_event(self._journal) or {}
        for name in start.get("last", ()):
            path = self._journal.parent / name
            if path.exists():
                self._uploads.upload(path, "")
        if start.get("parent") and not self._has_parent:
            tags = self._client.get_run(self.run_id).data.tags
            if PARENT_TAG not in tags and (parent := self._parent_run_id(start)):
                # It ran on another machine, and was there before its sweep was.
                self._client.set_tag(self.run_id, PARENT_TAG, parent)
        self._client.set_terminated(self.run_id, status, end_ms)
        self._position.ended = True
