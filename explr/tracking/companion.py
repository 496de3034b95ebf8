"""The process beside a training that brings journals to MLflow.

It follows the process that started it. One companion of a user ships for all, the others stand by
without importing mlflow and take over when it ends. It starts the MLflow server, and ends when the
process it follows is gone and nothing of the dead is left to ship.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from explr.core.errors import TrackingError
from explr.tracking.home import explr_home, is_local_store
from explr.tracking.processes import ProcessIdentity, identity_of, is_alive
from explr.tracking.spool import Entry, entries, is_of_this_host, strike_off

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from explr.tracking.mirror import Mirror

log = logging.getLogger("explr.tracking.companion")

POLL_S = 0.1
"""Pause between two looks at the journals."""
MAX_BACKOFF_S = 30.0
"""Longest pause after MLflow refused."""
PATIENCE_S = 30.0
"""How long a companion without its process goes on when nothing moves any more."""


@dataclass(frozen=True)
class Order:
    """What a companion is to do; handed over on its standard input, where no other user can look.

    Args:
        uri: tracking URI to ship to.
        pid: process to follow.
        started: start time of that process, in seconds since the epoch.
        serve: start an MLflow server for a local store.
        port: first port to try for it.
    """

    uri: str
    pid: int
    started: float
    serve: bool
    port: int


_children: dict[str, subprocess.Popen[bytes]] = {}


def ensure_companion(uri: str, *, serve: bool, port: int) -> None:
    """Start a companion for this process and store, unless one is there.

    Args:
        uri: tracking URI to ship to.
        serve: start an MLflow server for a local store.
        port: first port to try for it.

    Raises:
        TrackingError: the process cannot be started.
    """
    child = _children.get(uri)
    if child is not None and child.poll() is None:
        return
    me = identity_of()
    order = Order(uri, me.pid, me.started, serve, port)
    try:
        with (explr_home() / "mirror.log").open("ab") as output:
            child = subprocess.Popen(
                [sys.executable, "-m", "explr.tracking.companion"],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd=explr_home(),
            )
        assert child.stdin is not None
        child.stdin.write(json.dumps(asdict(order)).encode())
        child.stdin.close()
    except OSError as error:
        raise TrackingError(f"the process that ships to MLflow did not start: {error}") from error
    _children[uri] = child


def follow(order: Order) -> None:
    """Stand by for the lock of the store, then ship until nothing is left to do."""
    from filelock import FileLock, Timeout

    followed = ProcessIdentity(order.pid, order.started)
    lock = FileLock(explr_home() / f"mirror-{zlib.crc32(order.uri.encode()):08x}.lock")
    while True:
        try:
            with lock.acquire(timeout=0):
                Shipping(order, followed).run()
                return
        except Timeout:
            if not is_alive(followed) and not _left_by_the_dead(order.uri):
                return
            time.sleep(POLL_S)


class Shipping:
    """The work of the one companion that holds the lock.

    Args:
        order: what to ship where.
        followed: the process that it was started beside.
    """

    def __init__(self, order: Order, followed: ProcessIdentity) -> None:
        self._order = order
        self._followed = followed
        self._mirrors: dict[str, Mirror] = {}
        self._client: MlflowClient | None = None

    def run(self) -> None:
        """Ship until the followed process is gone and nothing of the dead is left."""
        moved_at = time.monotonic()
        backoff_s = POLL_S
        while True:
            alive = is_alive(self._followed)
            moved, refused = self._round()
            now = time.monotonic()
            if moved:
                moved_at = now
            if not alive:
                if not _left_by_the_dead(self._order.uri):
                    return
                if now - moved_at > PATIENCE_S:
                    log.warning("nothing moves any more: `explr sync` ships what is left")
                    return
            backoff_s = min(backoff_s * 2, MAX_BACKOFF_S) if refused else POLL_S
            if not moved:
                time.sleep(min(backoff_s, PATIENCE_S / 4))

    def _round(self) -> tuple[bool, bool]:
        """Ship a little of every journal: whether anything moved, and whether MLflow refused."""
        from mlflow.exceptions import MlflowException

        moved = refused = False
        for entry in entries(self._order.uri):
            # Asked before reading: what a process wrote before it died is read before it is closed.
            dead = is_of_this_host(entry) and not is_alive(
                ProcessIdentity(entry.pid, entry.started)
            )
            try:
                moved |= self._ship(entry, dead)
            except (MlflowException, OSError, TrackingError) as error:
                refused = True
                log.warning("%s: %s", entry.journal, error)
                if entry.uid in self._mirrors:
                    self._mirrors[entry.uid].fail(str(error).splitlines()[0])
        return moved, refused

    def _ship(self, entry: Entry, dead: bool) -> bool:
        from explr.tracking.mirror import Mirror

        journal = Path(entry.journal)
        if not journal.exists():
            log.warning("%s is gone: what it held beyond MLflow is lost", journal)
            strike_off(entry)
            return True
        mirror = self._mirrors.get(entry.uid)
        if mirror is None:
            mirror = self._mirrors[entry.uid] = Mirror(self._connect(), entry.uri, journal)
        moved = mirror.ship()
        if dead and not mirror.done and not moved:
            mirror.close_as_killed()
        if mirror.done:
            strike_off(entry)
            del self._mirrors[entry.uid]
            return True
        return moved

    def _connect(self) -> MlflowClient:
        """MLflow's client; the store is made by it, before a server looks for it."""
        if self._client is None:
            self._client = connect(self._order.uri)
            if self._order.serve and is_local_store(self._order.uri):
                from explr.tracking.server import MLflowServer

                state = MLflowServer(self._order.uri, port=self._order.port).start()
                log.info("MLflow is served at %s", state.url)
        return self._client


def connect(uri: str) -> MlflowClient:
    """MLflow's client for a store, with short time-outs and no telemetry.

    Raises:
        MlflowException: the store cannot be opened.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    client.search_experiments(max_results=1)
    return client


def _left_by_the_dead(uri: str) -> bool:
    return any(
        is_of_this_host(entry) and not is_alive(ProcessIdentity(entry.pid, entry.started))
        for entry in entries(uri)
    )


def main() -> None:
    """Follow the order on standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(
        level=logging.INFO, format=f"[%(asctime)s][{os.getpid()}][%(levelname)s] %(message)s"
    )
    follow(Order(**json.load(sys.stdin)))


if __name__ == "__main__":
    main()
