"""The companion: the process beside a training that uploads journals.

It follows the process that started it. Of all companions of a user, one uploads for all; the
others wait without importing MLflow and take over when it ends. A companion starts the MLflow
server of a local store. It ends when the process that it follows is gone and no journal of a
process that is gone is left to upload.
"""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from explr.core.secrets.logs import guard_logs
from explr.tracking.home import is_local_store
from explr.tracking.journal.pending import Liveness, entries, is_of_this_host
from explr.tracking.journal.position import read_position
from explr.tracking.shipping.awaiting import upload_lock
from explr.tracking.shipping.observer import Observer
from explr.tracking.shipping.shipper import PATIENCE_S, POLL_S, Shipper
from explr.tracking.shipping.sinks import sink_for
from explr.tracking.shipping.start import Order
from explr.utils.lock import file_lock
from explr.utils.priority import LOW, lower_priority
from explr.utils.processes import is_alive

if TYPE_CHECKING:
    from filelock import BaseFileLock


TELL_POLL_S = 0.2
HANDOVER_S = 120.0
"""How long a companion may take to leave the upload to who asks: trainings may take every core
while it imports MLflow."""


def follow(order: Order, on_progress: Callable[[], None] = lambda: None) -> bool:
    """Wait for the lock of the store, then upload until nothing is left to do.

    Without a process to follow, it uploads in place of the companion that does so now.

    Args:
        order: what to do.
        on_progress: called whenever something may have been uploaded.

    Returns:
        Whether this process uploaded; if not, another one does.
    """
    from filelock import Timeout

    path = upload_lock(order.uri)
    lock = file_lock(path, 0)
    # Held by who does not follow a process: a companion then leaves the upload to it.
    request = file_lock(path.with_suffix(".request"), 0)
    bystander = _Bystander(order)
    followed = order.followed
    if followed is not None:
        Observer(followed, order.uri).start()
    try:
        while True:
            try:
                if followed is None and not request.is_locked:
                    request.acquire()
                with lock:
                    if followed is None:
                        return Shipper(sink_for(order.uri)).run(on_progress)
                    if not _is_held(request) and Shipper(
                        sink_for(order.uri),
                        lambda: is_alive(followed),
                        order.port if order.serve else None,
                        is_wanted=lambda: _is_held(request),
                    ).run(on_progress):
                        return True
            except Timeout:
                if not bystander.is_needed(asked=request.is_locked):
                    return False
            time.sleep(POLL_S)
            on_progress()
    finally:
        request.release(force=True)


def _is_held(lock: BaseFileLock) -> bool:
    """Whether another process holds a lock."""
    from filelock import Timeout

    try:
        with lock:
            return False
    except Timeout:
        return True


class _Bystander:
    """Decides how long to wait for a lock that another process holds."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._liveness = Liveness()
        self._seen: list[tuple[str, int]] = []
        self._began_at = self._moved_at = time.monotonic()

    def is_needed(self, asked: bool) -> bool:
        """Whether the other process may leave something that no other process would upload.

        Args:
            asked: whether it was asked to leave everything.
        """
        if asked:
            waited_s = time.monotonic() - self._began_at
            return bool(entries(self._order.uri)) and waited_s <= HANDOVER_S
        if (followed := self._order.followed) is not None and is_alive(followed):
            self._moved_at = time.monotonic()
            return True
        left = self._liveness.left(self._order.uri)
        seen = [(entry.uid, read_position(Path(entry.journal)).offset) for entry in left]
        if seen != self._seen:
            self._seen = seen
            self._moved_at = time.monotonic()
        return bool(left) and time.monotonic() - self._moved_at <= PATIENCE_S


def _tell(order: Order, descriptor: int) -> None:
    """Tell the training why the sink cannot be used, or where its runs are; it may be gone by then.

    Args:
        order: what this companion does.
        descriptor: takes a line of JSON for each.
    """
    with suppress(OSError), open(descriptor, "w", encoding="utf-8") as words:
        if not is_local_store(order.uri) and (reason := sink_for(order.uri).look()):
            print(json.dumps({"reason": reason}), file=words, flush=True)
        if address := _address(order):
            print(json.dumps({"address": address}), file=words)


def _address(order: Order) -> str | None:
    """Address of the experiment of the first run of the training, as soon as it is known.

    None if the training ends before, or no server of a local store is started.
    """
    followed = order.followed
    until, first = math.inf, None
    while followed is not None and is_alive(followed) and time.monotonic() < until:
        if first is None:  # looked for until it is there: a sweep may have thousands of entries
            own = (each for each in entries(order.uri) if each.pid == followed.pid)
            first = next(filter(is_of_this_host, own), None)
        experiment = read_position(Path(first.journal)).experiment_id if first else ""
        if experiment:
            if (address := sink_for(order.uri).address(experiment)) is not None:
                return address
            until = min(until, time.monotonic() + (PATIENCE_S if order.serve else 0.0))
        time.sleep(TELL_POLL_S)
    return None


def main() -> None:
    """Carry out the order on standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lower_priority(os.getpid(), LOW)
    logging.basicConfig(
        level=logging.INFO, format=f"[%(asctime)s][{os.getpid()}][%(levelname)s] %(message)s"
    )
    guard_logs()
    order = Order(**json.load(sys.stdin))
    if order.tell is not None:
        # Beside all else: nothing waits for a server that does not answer.
        threading.Thread(target=_tell, args=(order, order.tell), daemon=True).start()
    follow(order)


if __name__ == "__main__":
    main()
