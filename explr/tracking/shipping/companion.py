"""The companion: the process beside a training that uploads journals.

It follows the process that started it. Of all companions of a user, one uploads for all; the
others wait without importing MLflow and take over when it ends. A companion starts the MLflow
server of a local store. It ends when the process that it follows is gone and no journal of a
process that is gone is left to upload.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from explr.core.secrets import guard_logs, without_user_info
from explr.tracking.home import explr_home
from explr.tracking.journal.pending import Liveness
from explr.tracking.journal.position import read_position
from explr.tracking.shipping.observer import Observer
from explr.tracking.shipping.shipper import PATIENCE_S, POLL_S, Shipper
from explr.tracking.shipping.sinks import sink_for
from explr.tracking.shipping.start import Order
from explr.utils.priority import lower_priority
from explr.utils.processes import is_alive


def follow(order: Order, on_progress: Callable[[], None] = lambda: None) -> bool:
    """Wait for the lock of the store, then upload until nothing is left to do.

    Args:
        order: what to do.
        on_progress: called whenever something may have been uploaded.

    Returns:
        Whether this process uploaded; if not, another one does.
    """
    from filelock import FileLock, Timeout

    store = zlib.crc32(without_user_info(order.uri).encode())
    lock = FileLock(explr_home() / f"mirror-{store:08x}.lock", timeout=0)
    bystander = _Bystander(order)
    followed = order.followed
    if followed is not None:
        Observer(followed, order.uri).start()
    while True:
        try:
            lock.acquire()
        except Timeout:
            if not bystander.is_needed():
                return False
            time.sleep(POLL_S)
            on_progress()
            continue
        try:
            Shipper(
                sink_for(order.uri),
                None if followed is None else lambda: is_alive(followed),
                order.port if order.serve else None,
            ).run(on_progress)
        finally:
            lock.release()
        return True


class _Bystander:
    """Decides how long to wait for a lock that another process holds."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._liveness = Liveness()
        self._seen: list[tuple[str, int]] = []
        self._moved_at = time.monotonic()

    def is_needed(self) -> bool:
        """Whether the other process may leave something that no other process would upload."""
        if (followed := self._order.followed) is not None and is_alive(followed):
            self._moved_at = time.monotonic()
            return True
        left = self._liveness.left(self._order.uri)
        seen = [(entry.uid, read_position(Path(entry.journal)).offset) for entry in left]
        if seen != self._seen:
            self._seen = seen
            self._moved_at = time.monotonic()
        return bool(left) and time.monotonic() - self._moved_at <= PATIENCE_S


def main() -> None:
    """Carry out the order on standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lower_priority(os.getpid())
    logging.basicConfig(
        level=logging.INFO, format=f"[%(asctime)s][{os.getpid()}][%(levelname)s] %(message)s"
    )
    guard_logs()
    follow(Order(**json.load(sys.stdin)))


if __name__ == "__main__":
    main()
