"""Uploads the journals of all runs that go to one sink; one process at a time does this."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path

from explr.core.errors import FileError, TrackingError, one_line
from explr.core.folders import RESULTS
from explr.tracking.journal.journal import first_event, has_ended, now_ms, parent_of
from explr.tracking.journal.pending import Entry, Liveness, entries, is_of_this_host, strike_off
from explr.tracking.journal.position import read_position, write_position
from explr.tracking.shipping.awaiting import is_awaited as somebody_waits
from explr.tracking.shipping.delay import Clock, Delay
from explr.tracking.shipping.run_ids import add_run_ids, trial_of
from explr.tracking.shipping.run_upload import RunUpload
from explr.tracking.shipping.sink import Sink, SinkLocked, SinkSlow
from explr.utils.gc import postpone_collection, resume_collection
from explr.utils.priority import all_cores_are_busy

log = logging.getLogger(__name__)

POLL_S = 0.1
LONGEST_POLL_S = 1.0
"""Pause between two looks at the journals, and its length if there are thousands of them."""
SHARE = 0.005
LONGEST_PAUSE_S = 5.0
"""Part of a core that uploading may take from trainings that take all cores, and the longest pause
for that."""
PATIENCE_S = 30.0
"""How long journals of processes that are gone are retried when nothing moves any more."""

LOCKED_PATIENCE_S = 600.0
"""How long they are retried while another process has locked the sink."""

LOST_TAG = "explr.lost"


class Shipper:
    """Uploads journals; one that fails holds up no other.

    Args:
        sink: where to upload to.
        is_followed_alive: whether the process runs whose end is waited for; None waits for
            nobody, and uploads what is there.
        server_port: start the server of a local sink, on this port if it is free.
        clock: measures pauses.
        is_wanted: whether another process asks to upload in place of this one.
        are_cores_busy: whether trainings take all cores.
        is_awaited: whether a process waits for the upload; None looks for one.
    """

    def __init__(
        self,
        sink: Sink,
        is_followed_alive: Callable[[], bool] | None = None,
        server_port: int | None = None,
        clock: Clock = time,
        is_wanted: Callable[[], bool] = lambda: False,
        are_cores_busy: Callable[[], bool] = all_cores_are_busy,
        is_awaited: Callable[[], bool] | None = None,
    ) -> None:
        self._sink = sink
        self._is_followed_alive = is_followed_alive
        self._server_port = server_port
        self._clock = clock
        self._is_wanted = is_wanted
        self._are_cores_busy = are_cores_busy
        self._is_awaited = is_awaited or partial(somebody_waits, sink.uri)
        self._liveness = Liveness()
        self._is_connected = False
        self._sink_delay = Delay(clock)
        self._delays: dict[str, Delay] = {}
        self._uploads: dict[str, RunUpload] = {}
        self._begun: dict[tuple[Path, Path], dict[int, str]] = {}
        self._last_reason = ""
        self._awaits = False
        self._slow: set[str] = set()
        self._patience_s = PATIENCE_S

    def run(self, on_progress: Callable[[], None] = lambda: None) -> bool:
        """Upload until the followed process is gone, and its journals are uploaded or stuck.

        Args:
            on_progress: called whenever something was uploaded.

        Returns:
            Whether it came to that; if not, another process asked to upload.
        """
        try:
            return self._upload(on_progress)
        finally:
            self._tell_sweeps()

    def _upload(self, on_progress: Callable[[], None]) -> bool:
        """See `run`."""
        clock = self._clock
        moved_at = clock.monotonic()
        while not self._is_wanted():
            busy_s = clock.process_time()
            alive = self._is_followed_alive is not None and self._is_followed_alive()
            begun = clock.monotonic()
            if self._round():
                moved_at = clock.monotonic()
                on_progress()
                if alive and not self._is_awaited():
                    # Nobody waits for it yet: work half of the time, the rest is the trainings'.
                    pause_s = min(moved_at - begun, LONGEST_POLL_S)
                    if self._are_cores_busy():
                        busy_s = clock.process_time() - busy_s
                        pause_s = min(busy_s / SHARE, LONGEST_PAUSE_S)
                    self._pause(pause_s)
                continue
            if self._is_followed_alive is None:
                if not (self._awaits or self._slow):
                    return True
            elif not alive:
                if not self._liveness.left(self._sink.uri):
                    return True
                if clock.monotonic() - moved_at > self._patience_s:
                    log.warning("nothing moves any more: `explr sync` uploads what is left")
                    return True
            # Looking at thousands of journals must not take a core from the trainings.
            busy_s = clock.process_time() - busy_s
            clock.sleep(min(max(POLL_S, 5 * busy_s), LONGEST_POLL_S))
        return False

    def _pause(self, pause_s: float) -> None:
        """Leave the machine to the trainings, until somebody waits for the upload."""
        until = self._clock.monotonic() + pause_s
        while (left_s := until - self._clock.monotonic()) > 0:
            self._clock.sleep(min(left_s, LONGEST_POLL_S))
            if self._is_awaited():
                return

    def _round(self) -> bool:
        """Upload a share of every journal; whether anything moved."""
        self._awaits = False
        waiting = entries(self._sink.uri)
        for uid in self._delays.keys() - {entry.uid for entry in waiting}:
            self._forget(uid)
        if not waiting or not self._sink_delay.over or not self._is_open(waiting):
            return False
        self._liveness.look_again()
        try:
            return self._advance_all(waiting)
        finally:
            self._tell_sweeps(has_ended)

    def _advance_all(self, waiting: Iterable[Entry]) -> bool:
        moved = False
        for entry in waiting:
            delay = self._delays.setdefault(entry.uid, Delay(self._clock))
            if not delay.over:
                continue
            try:
                moved |= self._advance(entry)
            except Exception as error:  # noqa: BLE001 - one run's failure is not the others'
                delay.lengthen()
                self._note([entry], error)
                if not self._answers(waiting):
                    break
            else:
                delay.clear()
        return moved

    def _advance(self, entry: Entry) -> bool:
        # Asked before reading, so that all that a process wrote before it died is read first.
        left = self._liveness.is_left(entry)
        journal = Path(entry.journal)
        if not journal.exists():
            return self._close_lost(entry)
        upload = self._uploads.get(entry.uid)
        known = "" if upload is None else upload.run_id
        if upload is None:
            # `explr sync` may have been called because the sink takes now what it refused.
            retries = self._is_followed_alive is None
            upload = RunUpload(self._sink, journal, self._clock, retries)
            self._uploads[entry.uid] = upload
        try:
            moved = upload.advance()
            self._slow.discard(entry.uid)
        finally:
            if upload.run_id != known:
                self._note_begun(journal, upload.run_id)
        self._awaits |= upload.awaits
        if left and not moved and not upload.awaits:
            if not upload.run_id and first_event(journal) is None:
                return self._drop_empty(entry)
            upload.close_as_killed()
        if upload.done:
            self._strike_off(entry)
            return True
        return moved

    def _note_begun(self, journal: Path, run_id: str) -> None:
        trial = trial_of(journal)
        if trial is not None:
            parent = parent_of(journal, first_event(journal) or {}) or Path()
            self._begun.setdefault((parent, trial.sweep), {})[trial.number] = run_id

    def _tell_sweeps(self, when: Callable[[Path], bool] = lambda journal: True) -> None:
        """Add the ids of begun runs to the results of their sweeps.

        Args:
            when: whether it is time for this, given the journal of the sweep; a sweep that has not
                ended will write results that have the ids.
        """
        for parent, sweep in [key for key in self._begun if when(key[0])]:
            ids = self._begun.pop((parent, sweep))
            try:
                add_run_ids(sweep, ids)
            except (FileError, OSError) as error:
                log.warning("%s lacks the ids of runs: %s", sweep / RESULTS, error)

    def _close_lost(self, entry: Entry) -> bool:
        """Finish the run of a journal that was deleted, unless it lies on another machine."""
        if not is_of_this_host(entry):
            return False
        log.warning("%s is gone: what was not uploaded of it is lost", entry.journal)
        run = self._sink.find(entry.uid)
        if run is not None and not run.has_ended:
            now = now_ms()
            tags = {LOST_TAG: "the run's journal was deleted"}
            self._sink.send(run.run_id, [{"k": "tags", "t": now, "g": tags}])
            self._sink.finish(run.run_id, "KILLED", now)
        self._strike_off(entry)
        return True

    def _drop_empty(self, entry: Entry) -> bool:
        """Strike off a journal to which nothing was written before the machine went down."""
        log.warning("%s has no events", entry.journal)
        self._strike_off(entry)
        return True

    def _strike_off(self, entry: Entry) -> None:
        strike_off(entry)
        self._forget(entry.uid)

    def _forget(self, uid: str) -> None:
        self._delays.pop(uid, None)
        self._uploads.pop(uid, None)
        self._slow.discard(uid)

    def _is_open(self, waiting: Iterable[Entry]) -> bool:
        """Connect the sink, once there is something to upload."""
        if self._is_connected:
            return not self._sink_delay.failed or self._answers(waiting)
        postpone_collection()  # importing MLflow takes a fifth less processor time
        try:
            self._sink.connect(self._server_port, only_uploads=True)
        except Exception as error:  # noqa: BLE001 - any sink's failure; kept as the reason
            self._sink_delay.lengthen()
            self._note(waiting, error)
            return False
        finally:
            resume_collection()
        self._sink_delay.clear()
        self._slow.clear()
        self._is_connected = True
        return True

    def _answers(self, waiting: Iterable[Entry]) -> bool:
        """Whether the sink answers; if not, no journal waits for its time-out again so soon."""
        try:
            self._sink.check()
        except Exception as error:  # noqa: BLE001 - any sink's failure; kept as the reason
            self._sink_delay.lengthen()
            self._note(waiting, error)
            return False
        self._sink_delay.clear()
        return True

    def _note(self, waiting: Iterable[Entry], error: Exception) -> None:
        """Store a reason beside the journals that it holds up, and log it once."""
        self._patience_s = LOCKED_PATIENCE_S if isinstance(error, SinkLocked) else PATIENCE_S
        reason = one_line(error)
        stuck = isinstance(error, TrackingError)
        for entry in waiting:
            (self._slow.add if isinstance(error, SinkSlow) else self._slow.discard)(entry.uid)
            journal = Path(entry.journal)
            if not journal.exists():
                continue
            upload = self._uploads.get(entry.uid)
            with suppress(OSError):  # a full disk, perhaps; the log has the reason too
                if upload is not None:
                    upload.fail(reason, stuck)
                elif (position := read_position(journal)).error != reason:
                    position.error, position.stuck = reason, stuck
                    write_position(journal, position)
        if reason != self._last_reason:
            self._last_reason = reason
            log.warning("%s", reason, exc_info=not isinstance(error, (TrackingError, OSError)))
