"""Uploads the journal of one run to a sink.

The upload may be stopped at any point and started again: the position is stored after each batch,
events carry their original times, and a sink takes equal rows for one, so a replay adds nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from explr.core.errors import TrackingError
from explr.core.folders import drop_unfinished
from explr.core.secrets.shapes import without_user_info
from explr.tracking.journal.items import Item
from explr.tracking.journal.journal import (
    attempts_of,
    end_as_killed,
    first_event,
    now_ms,
    parent_of,
    uid_of,
)
from explr.tracking.journal.lines import VERSION, ends_a_line, is_over, read_events
from explr.tracking.journal.position import Position, read_position, write_position
from explr.tracking.shipping.delay import Clock
from explr.tracking.shipping.files import FileUploads
from explr.tracking.shipping.observer import is_awaited, observed_file
from explr.tracking.shipping.sink import RunStart, Sink, Status
from explr.tracking.shipping.verification import Tally, known_refusals, lacking, put_back

log = logging.getLogger(__name__)

BATCH_ROWS = 1000
"""Rows after which a batch is sent and the position stored."""
MISSING_TAG = "explr.missing"
"""Tag that names artifacts which the sink will not have."""
MOST_REPLAYS = 2
"""How often one process uploads a run again of which the sink lacks something."""
SHARE_BYTES = 500_000
"""Bytes of one journal that are uploaded before other journals have their turn."""


class RunUpload:
    """Uploads the events of one journal.

    Args:
        sink: where to upload to; connected.
        journal: the journal, which may still grow.
        clock: measures the pauses between retries.
        retries: try again the files that were set aside.
    """

    def __init__(
        self, sink: Sink, journal: Path, clock: Clock = time, retries: bool = False
    ) -> None:
        drop_unfinished(journal.parent, journal.stem)  # of an upload that was killed
        self._sink = sink
        self._journal = journal
        self._position = read_position(journal)
        self._files = FileUploads(sink, journal, clock, retries)
        lost = self._files.is_damaged or (self._position.waiting and not self._files.waiting)
        if lost or not ends_a_line(journal, self._position.offset):  # the journal was cut
            self._position.offset = self._position.observed = 0
        self._position.done = self._position.done and not self._files.waiting
        self._exhausted_at = (-1, -1)
        self._observed: Path | None = None
        self._awaits = False
        self._has_parent = False
        self._worked = False
        begins = self._position.offset == self._position.observed == 0
        self._tally = Tally() if begins else None
        self._is_verified = False
        self._replays = 0

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
        if size == self._exhausted_at and not self._files.waiting:
            return False
        self._awaits = self._worked = False
        before = self._position.offset
        events: list[dict[str, Any]] = []
        rows, end = 0, before
        over = self._position.ended and is_over(self._journal, before)
        for event, after in () if over else read_events(self._journal, before, self._leave_out):
            kind = event.get("k")
            if kind in ("start", "end"):
                self._send(events, end)
                events, rows = [], 0
                if not self._apply(event):
                    break
                self._count([event])
                self._save(after)
            elif kind in ("artifact", "model", "register"):
                self._check_begun()
                self._files.add(_item(event))
                self._count([event])
                rows += 1
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
        self._work()
        again = self._begin_again_if_lacking()
        changed = self._files.error != self._position.error
        if self._worked or observed or changed or self._is_complete():
            self._save(self._position.offset)
        moved = self._worked or observed or again or self._position.offset > before
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
        if self._files.missing != self._position.missing:
            tag = {MISSING_TAG: self._files.all_missing or "nothing"}
            self._sink.send(self.run_id, [{"k": "tags", "t": now_ms(), "g": tag}])
            self._position.missing = self._files.missing
        self._files.save()
        self._position.offset = offset
        self._position.error, self._position.stuck = self._files.error, False
        self._position.waiting = self._files.waiting
        self._position.done = self._is_complete()
        write_position(self._journal, self._position)

    def _is_complete(self) -> bool:
        return self._is_verified and not self._files.waiting

    def _begin_again_if_lacking(self) -> bool:
        """Compare what the sink holds of a run that has ended with what was uploaded.

        Returns:
            Whether something is missing, and the upload begins again.

        Raises:
            TrackingError: something is still missing after `MOST_REPLAYS` more uploads.
        """
        position = self._position
        if self._is_verified or not position.ended or self._files.waiting:
            return False
        attempts = attempts_of(self._journal) if self._is_resumed() else [self._journal]
        earlier = [path for path in attempts if path != self._journal and read_position(path).done]
        tally = self._tally
        if tally is None or earlier:
            tally = Tally()
            for path in (*earlier, self._journal):
                tally.add_all(path, position if path == self._journal else read_position(path))
        wanted = tally.wanted(self._journal.parent, self._files.set_aside)
        held = self._sink.contents(self.run_id, wanted)
        missing = lacking(wanted, held, known_refusals(earlier))
        if not missing:
            position.refused = dict(held.refused)
            self._is_verified = True
            return False
        if self._replays == MOST_REPLAYS:
            raise TrackingError(f"MLflow lacks {missing}, although it was uploaded")
        log.warning("%s: MLflow lacks %s: it is uploaded again", self._journal, missing)
        self._replays += 1
        for path in earlier:
            put_back(path, self._sink.uri)
        vars(position).update(vars(Position()))
        write_position(self._journal, position)
        self._files.begin_again()
        self._tally = Tally()
        self._exhausted_at = (-1, -1)
        return True

    def _is_resumed(self) -> bool:
        return bool((first_event(self._journal) or {}).get("after"))

    def _count(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Note what the sink has taken."""
        if self._tally is not None:
            for event in events:
                self._tally.add(event)

    def _send(self, events: list[dict[str, Any]], end: int) -> None:
        """Send rows, then files, and move the position past them."""
        if events:
            self._check_begun()
            self._sink.send(self.run_id, events)
        if end > self._position.offset:
            self._work()
            self._count(events)
            self._save(end)

    def _work(self) -> None:
        if self.run_id:
            self._worked |= self._files.work(self.run_id)

    def _apply(self, event: dict[str, Any]) -> bool:
        """Carry out an event that is no row; False if it must wait for something."""
        if event["k"] == "start":
            return self._start(event)
        self._check_begun()
        self._work()
        if self._files.is_ready:  # the run ends when all of it has been tried
            return False
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
        seen: list[dict[str, Any]] = []
        before = end = self._position.observed
        for event, end in read_events(self._observed, before):
            if event["k"] == "artifact":
                self._files.add(_item(event))
            else:
                events.append(event)
            seen.append(event)
            if end - before > SHARE_BYTES:
                break
        if events:
            self._sink.send(self.run_id, events)
        self._count(seen)
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
        self._position.uri = without_user_info(self._sink.uri)
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
        journal = parent_of(self._journal, event)
        if journal is None:
            return ""
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
            if (self._journal.parent / name).exists():
                self._files.add(Item(name))
        self._work()
        # A trial on another machine may have been uploaded before its sweep was.
        parent_id = "" if self._has_parent else self._parent_id(start) or ""
        self._sink.finish(self.run_id, status, end_ms, parent_id)
        self._position.ended = True
        self._is_verified = False


def _item(event: dict[str, Any]) -> Item:
    """What an event of the kind `artifact`, `model` or `register` asks to be uploaded."""
    if event["k"] == "artifact":
        return Item(event["f"], event["d"])
    if event["k"] == "model":
        return Item(event["f"], logged=event["logged"])
    return Item(event["model"], model=event["name"], run=event["run"], about=event["about"])
