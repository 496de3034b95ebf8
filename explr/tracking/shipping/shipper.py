"""The work of the one process that ships for a store."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from explr.core.errors import ExplrError, TrackingError
from explr.core.gc import postpone_collection, resume_collection
from explr.tracking.home import is_local_store
from explr.tracking.journal.journal import first_event, has_ended, now_ms, read_events
from explr.tracking.journal.pending import Entry, Liveness, entries, is_of_this_host, strike_off
from explr.tracking.journal.position import read_position, write_position
from explr.tracking.shipping.delay import Delay
from explr.utils.processes import ProcessIdentity, is_alive

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from explr.tracking.mlflow.mirror import Mirror


log = logging.getLogger(__name__)

POLL_S = 0.1
LONGEST_POLL_S = 1.0
"""Pause between two looks at the journals, and its length where there are thousands of them."""
PATIENCE_S = 30.0
"""How long shipping for the dead goes on when nothing moves any more."""


class Shipping:
    """Ships the journals of a store, the one that fails holding up no other.

    Args:
        uri: tracking URI of the store.
        followed: the process whose end is waited for; None ships what is there.
        server_port: start an MLflow server for a local store, on this port if it is free.
    """

    def __init__(
        self, uri: str, followed: ProcessIdentity | None, server_port: int | None = None
    ) -> None:
        self._uri = uri
        self._followed = followed
        self._server_port = server_port
        self._liveness = Liveness()
        self._client: MlflowClient | None = None
        self._store = Delay()
        self._delays: dict[str, Delay] = {}
        self._mirrors: dict[str, Mirror] = {}
        self._told = ""
        self._awaits = False

    def run(self, told: Callable[[], None] = lambda: None) -> None:
        """Ship until the followed process is gone and nothing of the dead is left or moves.

        Args:
            told: called whenever something was shipped.
        """
        moved_at = time.monotonic()
        while True:
            busy_s = time.process_time()
            alive = self._followed is not None and is_alive(self._followed)
            begun = time.monotonic()
            if self._round():
                moved_at = time.monotonic()
                told()
                if alive and not self._is_awaited():
                    # Nobody waits for it yet: half of the time, so that trainings lose less.
                    time.sleep(min(moved_at - begun, LONGEST_POLL_S))
                continue
            if self._followed is None:
                if not self._awaits:
                    return
            elif not alive:
                if not self._liveness.left(self._uri):
                    return
                if time.monotonic() - moved_at > PATIENCE_S:
                    log.warning("nothing moves any more: `explr sync` ships what is left")
                    return
            # Looking after thousands of runs must not take a core from the trainings.
            busy_s = time.process_time() - busy_s
            time.sleep(min(max(POLL_S, 5 * busy_s), LONGEST_POLL_S))

    def _is_awaited(self) -> bool:
        """Whether a run has ended, and somebody may wait for MLflow to have it."""
        return any(has_ended(Path(entry.journal)) for entry in entries(self._uri))

    def _round(self) -> bool:
        """Ship a share of every journal: whether anything moved."""
        self._awaits = False
        waiting = entries(self._uri)
        for uid in self._delays.keys() - {entry.uid for entry in waiting}:
            self._forget(uid)
        if not waiting or not self._store.over or not self._is_open(waiting):
            return False
        self._liveness.look_again()
        moved = False
        for entry in waiting:
            delay = self._delays.setdefault(entry.uid, Delay())
            if not delay.over:
                continue
            try:
                moved |= self._ship(entry)
            except Exception as error:  # noqa: BLE001 - one run's trouble is not the others'
                delay.lengthen()
                self._note([entry], error)
                if not self._answers(waiting):
                    break
            else:
                delay.clear()
        return moved

    def _ship(self, entry: Entry) -> bool:
        from explr.tracking.mlflow.mirror import Mirror

        # Asked before reading: what a process wrote before it died is read before it is closed.
        left = self._liveness.is_left(entry)
        journal = Path(entry.journal)
        if not journal.exists():
            return self._lose(entry)
        mirror = self._mirrors.get(entry.uid)
        if mirror is None:
            assert self._client is not None
            mirror = self._mirrors[entry.uid] = Mirror(self._client, entry.uri, journal)
        moved = mirror.ship()
        self._awaits |= mirror.awaits
        if left and not moved and not mirror.awaits:
            if not mirror.run_id and first_event(journal) is None:
                return self._give_up(entry)
            mirror.close_as_killed()
        if mirror.done:
            strike_off(entry)
            self._forget(entry.uid)
            return True
        return moved

    def _lose(self, entry: Entry) -> bool:
        """Take leave of a run whose journal was deleted, if it ever was on this machine."""
        from explr.tracking.mlflow.store import close_lost_run

        if not is_of_this_host(entry):
            return False
        log.warning("%s is gone: what it held beyond MLflow is lost", entry.journal)
        assert self._client is not None
        close_lost_run(self._client, entry.uid, now_ms())
        strike_off(entry)
        self._forget(entry.uid)
        return True

    def _give_up(self, entry: Entry) -> bool:
        """Take leave of a journal in which nothing was written before the machine went down."""
        journal = Path(entry.journal)
        if next(read_events(journal), None) is not None:
            raise TrackingError(f"the beginning of {journal} is damaged: it cannot be shipped")
        log.warning("%s is empty", journal)
        strike_off(entry)
        return True

    def _forget(self, uid: str) -> None:
        self._delays.pop(uid, None)
        self._mirrors.pop(uid, None)

    def _is_open(self, waiting: Iterable[Entry]) -> bool:
        """Open the store, which makes a new one, before a server looks for it."""
        from explr.tracking.mlflow.store import connect

        if self._client is not None:
            return not self._store.failed or self._answers(waiting)
        postpone_collection()  # importing MLflow takes a fifth less of a core
        try:
            self._client = connect(self._uri)
            self._store.clear()
        except Exception as error:  # noqa: BLE001 - databases raise their own; kept as the reason
            self._store.lengthen()
            self._note(waiting, error)
            return False
        finally:
            resume_collection()
        self._serve()
        return True

    def _answers(self, waiting: Iterable[Entry]) -> bool:
        """Whether the store itself is well; if not, nobody waits for its time-out again so soon."""
        assert self._client is not None
        try:
            self._client.search_experiments(max_results=1)
        except Exception as error:  # noqa: BLE001 - databases raise their own; kept as the reason
            self._store.lengthen()
            self._note(waiting, error)
            return False
        self._store.clear()
        return True

    def _serve(self) -> None:
        from explr.tracking.server import MLflowServer

        if self._server_port is None or not is_local_store(self._uri):
            return
        try:
            state = MLflowServer(self._uri, port=self._server_port).start()
        except (ExplrError, OSError) as error:
            log.warning("no MLflow server: %s", error)
        else:
            log.info("MLflow is served at %s", state.url)

    def _note(self, waiting: Iterable[Entry], error: Exception) -> None:
        """Write a reason down beside the journals that it holds up."""
        from explr.tracking.mlflow.store import out_of_reach

        reason = out_of_reach(self._uri, error)
        stuck = isinstance(error, TrackingError)
        for entry in waiting:
            journal = Path(entry.journal)
            if not journal.exists():
                continue
            mirror = self._mirrors.get(entry.uid)
            with suppress(OSError):  # a full disk, perhaps: the log has it all the same
                if mirror is not None:
                    mirror.fail(reason, stuck)
                elif (position := read_position(journal)).error != reason:
                    position.error, position.stuck = reason, stuck
                    write_position(journal, position)
        if reason != self._told:
            self._told = reason
            log.warning("%s", reason, exc_info=not isinstance(error, (TrackingError, OSError)))
