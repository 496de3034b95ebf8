"""The process beside a training that brings journals to MLflow.

It follows the process that started it. One companion of a user ships for all, the others stand by
without importing mlflow and take over when it ends. It starts the MLflow server, and ends when the
process it follows is gone and nothing of the dead is left to ship.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from explr.core.errors import TrackingError
from explr.core.secrets import without_user_info
from explr.tracking.home import explr_home, rotated_log
from explr.tracking.liveness import Liveness
from explr.tracking.observer import Observer
from explr.tracking.position import read_position
from explr.tracking.processes import ProcessIdentity, identity_of, is_alive
from explr.tracking.shipping import PATIENCE_S, POLL_S, Shipping
from explr.utils.priority import stand_back
from explr.utils.redacted_logs import guard_logs

LOG_FILE = "mirror.log"
"""Where companions write what happens to them, in EXPLR_HOME."""


@dataclass(frozen=True)
class Order:
    """What a companion is to do; handed over on its standard input, where no other user can look.

    Args:
        uri: tracking URI to ship to.
        pid: process to follow; None follows nobody, and ships what is there.
        started: start time of that process, in seconds since the epoch.
        serve: start an MLflow server for a local store.
        port: first port to try for it.
    """

    uri: str
    pid: int | None = None
    started: float = 0.0
    serve: bool = False
    port: int = 5000

    @property
    def followed(self) -> ProcessIdentity | None:
        """The process to follow."""
        return None if self.pid is None else ProcessIdentity(self.pid, self.started)


_children: dict[str, subprocess.Popen[bytes]] = {}


@atexit.register
def _take_leave() -> None:
    """Leave companions to finish by themselves, without Popen's complaint that nobody waits."""
    for child in _children.values():
        child.returncode = child.poll() or 0


def ensure_companion(uri: str, *, serve: bool, port: int) -> None:
    """Start a companion for this process and store, unless one is there.

    Args:
        uri: tracking URI to ship to.
        serve: start an MLflow server for a local store.
        port: first port to try for it.

    Raises:
        TrackingError: the process cannot be started.
    """
    if has_companion(uri):
        return
    me = identity_of()
    order = Order(uri, me.pid, me.started, serve, port)
    try:
        with rotated_log(explr_home() / LOG_FILE).open("ab") as output:
            child = subprocess.Popen(
                # -P: a file in EXPLR_HOME is no module.
                [sys.executable, "-P", "-m", "explr.tracking.companion"],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd=explr_home(),
                env=_environment(),
            )
    except OSError as error:
        raise TrackingError(f"the process that ships to MLflow did not start: {error}") from error
    _children[uri] = child
    assert child.stdin is not None
    with suppress(BrokenPipeError):  # it died at once: `has_companion` tells
        child.stdin.write(json.dumps(asdict(order)).encode())
        child.stdin.close()


def has_companion(uri: str) -> bool:
    """Whether the companion that this process started for a store still runs."""
    child = _children.get(uri)
    return child is not None and child.poll() is None


def follow(order: Order, told: Callable[[], None] = lambda: None) -> None:
    """Stand by for the lock of the store, then ship until nothing is left to do.

    Args:
        order: what to do.
        told: called whenever something may have been shipped.
    """
    from filelock import FileLock, Timeout

    store = zlib.crc32(without_user_info(order.uri).encode())
    lock = FileLock(explr_home() / f"mirror-{store:08x}.lock", timeout=0)
    bystander = _Bystander(order)
    if order.followed is not None:
        Observer(order.followed, order.uri).start()
    while True:
        try:
            lock.acquire()
        except Timeout:
            if not bystander.is_needed():
                return
            time.sleep(POLL_S)
            told()
            continue
        try:
            port = order.port if order.serve else None
            Shipping(order.uri, order.followed, port).run(told)
        finally:
            lock.release()
        return


class _Bystander:
    """Decides how long to wait for a lock that another process holds."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._liveness = Liveness()
        self._seen: list[tuple[str, int]] = []
        self._moved_at = time.monotonic()

    def is_needed(self) -> bool:
        """Whether the other process may leave something that nobody else would ship."""
        if (followed := self._order.followed) is not None and is_alive(followed):
            self._moved_at = time.monotonic()
            return True
        left = self._liveness.left(self._order.uri)
        seen = [(entry.uid, read_position(Path(entry.journal)).offset) for entry in left]
        if seen != self._seen:
            self._seen = seen
            self._moved_at = time.monotonic()
        return bool(left) and time.monotonic() - self._moved_at <= PATIENCE_S


def _environment() -> dict[str, str]:
    """What a companion finds in its environment: explr, wherever this process has it from."""
    import explr

    environment = dict(os.environ)
    environment.pop("PYTHONWARNINGS", None)  # MLflow's own are not the training's
    paths = [os.path.abspath(p) for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    root = str(Path(explr.__file__).resolve().parent.parent)
    environment["PYTHONPATH"] = os.pathsep.join([*paths, root])
    return environment


def main() -> None:
    """Follow the order on standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stand_back(os.getpid())
    logging.basicConfig(
        level=logging.INFO, format=f"[%(asctime)s][{os.getpid()}][%(levelname)s] %(message)s"
    )
    guard_logs()
    follow(Order(**json.load(sys.stdin)))


if __name__ == "__main__":
    main()
