"""Uploads the journal of one run to a sink.

The upload may be stopped at any point and started again: the position is stored after each batch,
events carry their original times, and a sink takes equal rows for one, so a replay adds nothing.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from explr.core.errors import TrackingError
from explr.tracking.journal.journal import end_as_killed, first_event, uid_of
from explr.tracking.journal.lines import VERSION, ends_a_line, is_over, read_events
from explr.tracking.journal.position import read_position, write_position
from explr.tracking.shipping.delay import Clock, Delay
from explr.tracking.shipping.files import FileUploads
from explr.tracking.shipping.observer import is_awaited, observed_file
from explr.tracking.shipping.sink import RunStart, Sink, Status

log = logging.getLogger(__name__)

BATCH_ROWS = 1000
"""Rows after which a batch is sent and the position stored."""
SHARE_BYTES = 500_000
"""Bytes of one journal that are uploaded before other journals have their turn."""


class RunUpload:
    """Uploads the events of one journal.

    Args:
        sink: where to upload to; connected.
        journal: the journal, which may still grow.
        clock: measures the pauses between retries.
    """

    def __init__(self, sink: Sink, journal: Path, clock: Clock = time) -> None:
        self._sink = sink
        self._journal = journal
        self._position = read_position(journal)
        if not ends_a_line(journal, self._position.offset):  # the journal was cut
            self._position.offset = 0
        self._exhausted_at = (-1, -1)
        self._observed: Path | None = None
        self._awaits = False
        self._has_parent = False
        self._files = FileUploads(sink, self._position, Delay(clock))

    @property
    def run_id(self) -> str:
        """The sink's id of the run, "" before it exists."""
        return self._position.run_id

    @property
    def done(self) -> bool:
        """Whether the sink has the whole run, its final status and its artifacts."""
        return self._position.done

    @property
    def awaits(self) -> bool:
        """Whether the run has ended, and its observer has not written down its origin yet."""
        return self._awaits

    def advance(self) -> bool:
        """Upload a share of what the journal holds beyond the position.

        Returns:
            Whether anything was uploaded; if not, nothing more can be done for now.

        Raises:
            SinkUnavailable, OSError: it is not possible now; call again later.
            TrackingError: it is not possible without a change by the user.
        """
        size = (self._journal.stat().st_size, self._observed_size())
        if size == self._exhausted_at and not self._position.owed:
            return False
        self._awaits = False
        before = self._position.offset
        uploaded = self._files.retry()
        events: list[dict[str, Any]] = []
        rows, end = 0, before
        over = self._position.ended and is_over(self._journal, before)
        for event, after in () if over else read_events(self._journal, before, self._leave_out):
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
            if rows >= BATCH_ROWS:
                self._send(events, end)
                events, rows = [], 0
            if end - before > SHARE_BYTES:
                break
        self._send(events, end)
        observed = self._send_observed()
        if uploaded or observed or self._is_complete():
            self._save(self._position.offset)
        moved = uploaded or observed or self._position.offset > before
        if not moved and self.run_id and not self._awaits:
            self._exhausted_at = size
        return moved

    def close_as_killed(self) -> None:
        """End the run of a process that died before it wrote the end of its journal.

        Raises:
            SinkUnavailable, TrackingError, OSError: as in `advance`.
        """
        if self.run_id and not self._position.ended:
            end_as_killed(self._journal)
            while self.advance():  # a process that it had started may have written since
                pass

    def fail(self, reason: str, stuck: bool) -> None:
        """Store why the upload failed, where the training's own process can read it.

        Args:
            reason: one line.
            stuck: a retry cannot succeed without a change by the user.

        Raises:
            OSError: it cannot be written beside the journal.
        """
        if (self._position.error, self._position.stuck) != (reason, stuck):
            self._position.error, self._position.stuck = reason, stuck
            write_position(self._journal, self._position)

    def _save(self, offset: int) -> None:
        self._position.offset = offset
        self._position.error, self._position.stuck = self._files.error, False
        self._position.done = self._is_complete()
        write_position(self._journal, self._position)

    def _is_complete(self) -> bool:
        return self._position.ended and not self._position.owed

    def _send(self, events: list[dict[str, Any]], end: int) -> None:
        """Send rows, and move the position past them."""
        if events:
            self._check_begun()
            self._sink.send(self.run_id, events)
            self._save(end)

    def _apply(self, event: dict[str, Any]) -> bool:
        """Carry out an event that is no row; False if it must wait for something."""
        if event["k"] == "start":
            return self._start(event)
        self._check_begun()
        if event["k"] == "artifact":
            self._files.upload(self._journal.parent / event["f"], event["d"])
        elif event["k"] == "register":
            model, run = (str(self._journal.parent / event[key]) for key in ("model", "run"))
            self._files.register(model, event["name"], run, event["about"])
        else:
            self._awaits = is_awaited(self._journal, first_event(self._journal) or {})
            if self._awaits:
                return False
            self._send_observed()
            self._finish(event["status"], event["t"])
        return True

    def _leave_out(self, end: int) -> None:
        log.warning(
            "%s: the line that ends at byte %d is damaged, and left out", self._journal, end
        )

    def _check_begun(self) -> None:
        if not self.run_id:
            raise TrackingError(
                f"the beginning of {self._journal} is damaged: without it MLflow cannot be told "
                "which run it is"
            )

    def _send_observed(self) -> bool:
        """Upload what the observer of the training wrote down beside the journal."""
        if not self.run_id or self._observed_size() <= self._position.observed:
            return False
        assert self._observed is not None
        events: list[dict[str, Any]] = []
        before = end = self._position.observed
        for event, end in read_events(self._observed, before):
            if event["k"] == "artifact":
                self._files.upload(self._journal.parent / event["f"], event["d"])
            else:
                events.append(event)
            if end - before > SHARE_BYTES:
                break
        if events:
            self._sink.send(self.run_id, events)
        self._position.observed = end
        return end > before

    def _observed_size(self) -> int:
        """Bytes that the observer wrote; only a run with a companion of its own has one."""
        if self._observed is None:
            if (first_event(self._journal) or {}).get("observe") is None:
                return 0
            self._observed = observed_file(self._journal)
        return self._observed.stat().st_size if self._observed.exists() else 0

    def _start(self, event: dict[str, Any]) -> bool:
        if event.get("v", VERSION) > VERSION:
            raise TrackingError(f"{self._journal} was written by a newer version of explr")
        parent_id = self._parent_id(event)
        if parent_id is None or self._earlier_attempt_is_open(event):
            return False
        run = self._sink.open_run(
            RunStart(
                uid=event.get("run") or uid_of(self._journal),
                experiment=event["experiment"],
                name=event["name"],
                started_ms=event["t"],
                tags=event["g"],
                parent_id=parent_id,
                resumed=bool(event.get("after")),
            )
        )
        self._position.run_id = run.run_id
        self._position.experiment_id = run.experiment_id
        self._has_parent = run.has_parent
        return True

    def _earlier_attempt_is_open(self, event: dict[str, Any]) -> bool:
        """Whether the attempt before this one was not finished in the sink yet, and can be."""
        before = self._journal.parent / event["after"] if event.get("after") else None
        if before is None or not before.exists():
            return False
        position = read_position(before)
        return not (position.ended or position.stuck)

    def _parent_id(self, event: dict[str, Any]) -> str | None:
        """The sink's id of the sweep's run; "" if none can be known, None if it comes later."""
        if event.get("parent") is None:
            return ""
        journal = Path(event["parent"])
        if run_id := read_position(journal).run_id:
            return run_id
        start = first_event(journal)
        uid = start.get("run") if start else None
        experiment = start["experiment"] if start else event["experiment"]
        run = self._sink.find(uid or uid_of(journal), experiment)
        if run is not None:
            return run.run_id
        return None if start else ""

    def _finish(self, status: Status, end_ms: int) -> None:
        start = first_event(self._journal) or {}
        for name in start.get("last", ()):
            path = self._journal.parent / name
            if path.exists():
                self._files.upload(path, "")
        # A trial on another machine may have been uploaded before its sweep was.
        parent_id = "" if self._has_parent else self._parent_id(start) or ""
        self._sink.finish(self.run_id, status, end_ms, parent_id)
        self._position.ended = True
