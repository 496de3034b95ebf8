"""The MLflow server that shows the user's local store in a browser.

It runs detached, and no training waits for it: it takes 5 to 35 seconds to start, and only a
browser needs it. Its port is open from the first moment, so a page that is opened early loads late.
While trainings take every core, it starts when somebody opens its page.
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from explr.core.errors import TrackingError
from explr.tracking.home import explr_home, is_local_store, local_store_uri, prepare_home
from explr.tracking.mlflow.serving.gate import login, password_file
from explr.tracking.mlflow.serving.server_process import ServerRecord, ServerState, answers
from explr.utils.lock import file_lock, lock_file
from explr.utils.processes import end

DEFAULT_PORT = 5000

GRACE_S = 5.0
"""Seconds between SIGTERM and SIGKILL."""

_LOCK_TIMEOUT_S = 30.0
_REQUEST_TIMEOUT_S = 5.0
_POLL_S = 0.2


def server_url(uri: str) -> str | None:
    """Address of the server of a store; None if none is known to run.

    Args:
        uri: tracking URI: a server's own address, or a local store.
    """
    if uri.startswith(("http://", "https://")):
        return uri
    state = MLflowServer(uri).state() if is_local_store(uri) else None
    return None if state is None else state.url


class MLflowServer:
    """The one MLflow server of a local store.

    Args:
        store_uri: an SQLite store; the user's own by default.
        port: the wanted port, 0 to 65535; if it is not free, the server takes another one.
        home: folder for state, lock, log and artifacts; `explr_home()` by default.

    Raises:
        TrackingError: the store is not an SQLite file, or `home` cannot be used.
    """

    def __init__(
        self, store_uri: str | None = None, port: int = DEFAULT_PORT, home: Path | None = None
    ) -> None:
        if not 0 <= port <= 65535:
            raise ValueError(f"port must be between 0 and 65535, got {port}")
        self._home = explr_home() if home is None else prepare_home(home)
        own = local_store_uri(self._home)
        self._store_uri = own if store_uri is None else _absolute(store_uri)
        self._port = port
        # The default store has the plain file names, every other store a server of its own.
        other = "" if self._store_uri == own else f"-{zlib.crc32(self._store_uri.encode()):08x}"
        self._record_path = self._home / f"server{other}.json"
        self._lock_path = self._home / f"server{other}.lock"
        self.log_path = self._home / f"server{other}.log"

    def start(self, awaited: bool = False) -> ServerState:
        """Make sure that a server runs, without waiting for its answer.

        Args:
            awaited: somebody waits for it. If not, it starts only when a core is idle, or when
                somebody connects: it must not take seconds from trainings that take every core.

        A server that runs is started anew if a password was made, or removed, since its start.

        Returns:
            The server that runs already, on any port, or the one that was started.

        Raises:
            TrackingError: no server can be started.
        """
        with self._locked():
            state = self.state()
            if state is not None and state.protected != password_file(self._home).exists():
                self._end()
                state = None
            return state or self._launch(awaited)

    def state(self) -> ServerState | None:
        """The server that explr started for this store; None if it does not run (any more)."""
        record = ServerRecord.read(self._record_path)
        return record.state if record is not None and record.processes() else None

    def wait_until_ready(self, timeout_s: float) -> bool:
        """Wait until the server answers a question about its store.

        Args:
            timeout_s: for how long, in seconds.

        Returns:
            Whether it answered in time.

        Raises:
            TrackingError: it does not run, or stopped meanwhile.
        """
        deadline = time.monotonic() + timeout_s
        while (state := self.state()) is not None:
            remaining = max(deadline - time.monotonic(), _POLL_S)
            header = login(password_file(self._home)) if state.protected else None
            # The state is read again, since the answer must have come from this server.
            if (
                answers(state.url, min(remaining, _REQUEST_TIMEOUT_S), header)
                and self.state() == state
            ):
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)
        raise TrackingError(f"the MLflow server is not running: {self._last_words()}")

    def stop(self) -> bool:
        """Stop all processes of the server, also if its first process is gone.

        Returns:
            Whether it was running.

        Raises:
            TrackingError: it does not stop.
        """
        with self._locked():
            return self._end()

    def _end(self) -> bool:
        record = ServerRecord.read(self._record_path)
        if record is None:
            self._record_path.unlink(missing_ok=True)
            return False
        was_running = False
        # Repeated, since a process may start another one before it stops.
        while processes := record.processes():
            was_running = True
            if left := end(processes, GRACE_S):
                pids = ", ".join(str(process.pid) for process in left)
                raise TrackingError(f"the MLflow server does not stop (pid {pids})")
        self._record_path.unlink(missing_ok=True)
        return was_running

    def _launch(self, awaited: bool) -> ServerState:
        from explr.tracking.mlflow.serving.server_process import launch

        record = launch(self._store_uri, self._port, self._home, self.log_path, awaited)
        try:
            record.write(self._record_path)
        except OSError:
            end(record.processes(), GRACE_S)
            raise
        return record.state

    @contextmanager
    def _locked(self) -> Iterator[None]:
        import filelock

        try:
            with file_lock(self._lock_path, _LOCK_TIMEOUT_S):
                yield
        except filelock.Timeout:
            raise TrackingError(
                f"another process has held {lock_file(self._lock_path)} for {_LOCK_TIMEOUT_S:.0f} s"
            ) from None
        except OSError as error:
            raise TrackingError(
                f"the MLflow server cannot be managed in {self._home}: {error.strerror or error}"
            ) from error

    def _last_words(self) -> str:
        try:
            lines = self.log_path.read_text(errors="replace").split("\n")
        except FileNotFoundError:
            return "it was never started"
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
        return f"see {self.log_path}, which ends with: {last}"


def _absolute(store_uri: str) -> str:
    """The store's address with an absolute path."""
    if is_local_store(store_uri):
        dialect, _, location = store_uri.partition(":///")
        path, question_mark, query = location.partition("?")
        return f"{dialect}:///{os.path.abspath(path)}{question_mark}{query}"
    from urllib.parse import urlsplit

    url = urlsplit(store_uri)
    if url.scheme in ("http", "https"):
        shown = url._replace(netloc=url.netloc.rpartition("@")[2], query="").geturl()
        raise TrackingError(f"{shown} is a remote tracking server: explr starts none")
    raise TrackingError(
        f"explr starts a server for an SQLite store only (sqlite:///PATH), and this is a "
        f"{url.scheme or 'file'} store"
    )
