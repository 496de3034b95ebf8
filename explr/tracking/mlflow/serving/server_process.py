"""The process of an MLflow server: starts it, records it, finds it again and asks it."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from explr.core.errors import FileError, TrackingError
from explr.core.folders import read_json, replace_file
from explr.tracking.home import artifact_root, ensure_home, rotated_log
from explr.tracking.mlflow.serving.gate import VARIABLE, password_file
from explr.utils.environment import opener_for, past_proxies
from explr.utils.priority import LOW, lower_priority
from explr.utils.processes import ProcessIdentity, identity_of, python_path, session_of

if TYPE_CHECKING:
    import socket

    import psutil


HOST = "127.0.0.1"

_BACKLOG = 128


def listen(port: int) -> socket.socket:
    """A socket that listens on `port` of the loopback interface, or on a free port if it is taken.

    Args:
        port: 0 to 65535; 0 takes any free port.

    Raises:
        TrackingError: there is no free port.
    """
    import socket

    for candidate in (port, 0):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # For the connections that it accepts; the server sets it only on sockets of its own.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            listener.bind((HOST, candidate))
            listener.listen(_BACKLOG)
        except OSError as error:
            listener.close()
            reason = error.strerror or str(error)
        else:
            return listener
    raise TrackingError(f"there is no free port on {HOST}: {reason}")


def answers(url: str, timeout_s: float, login: str | None = None) -> bool:
    """Whether the MLflow server at `url` answers a question about its store.

    `/version` would not do: it answers also while the store is out of reach.

    Args:
        url: address without a trailing slash.
        timeout_s: seconds to wait for the connection, and for each part of the answer.
        login: header of a client that knows the server's password.
    """
    import http.client
    import urllib.request

    request = urllib.request.Request(
        f"{url}/api/2.0/mlflow/experiments/search",
        data=json.dumps({"max_results": 1}).encode(),
        headers={"Content-Type": "application/json"} | ({"Authorization": login} if login else {}),
        method="POST",
    )
    try:
        with opener_for(url).open(request, timeout=timeout_s) as response:
            return isinstance(json.load(response), dict)
    except (OSError, ValueError, http.client.HTTPException):
        return False


MARK = "EXPLR_SERVER_MARK"
"""Variable in the environment of a server's processes, by which they are recognised."""


@dataclass(frozen=True)
class ServerState:
    """A local MLflow server that was started.

    Args:
        url: its address, without a trailing slash.
        port: its port on the loopback interface.
        pid: its first process, which leads its session.
        store_uri: the store that it serves.
        protected: it asks for a password.
    """

    url: str
    port: int
    pid: int
    store_uri: str
    protected: bool = False


@dataclass(frozen=True)
class ServerRecord:
    """A server, and how to recognise its processes.

    Args:
        state: its public part.
        started: when its first process started.
        mark: value of `MARK` in the environment of all its processes.
    """

    state: ServerState
    started: str
    mark: str

    def processes(self) -> list[psutil.Process]:
        """Its running processes, also if the first one is gone; never another server's."""
        leader = ProcessIdentity(self.state.pid, self.started)
        return session_of(leader, (MARK, self.mark))

    def write(self, path: Path) -> None:
        """Write it to `path` in one step, readable by the user alone.

        Raises:
            OSError: it cannot be written.
        """
        content = {
            **asdict(self.state),
            "session": self.state.pid,
            "started": self.started,
            "mark": self.mark,
        }
        replace_file(path, json.dumps(content, indent=1))

    @staticmethod
    def read(path: Path) -> ServerRecord | None:
        """The record at `path`; None if there is none or it is damaged."""
        try:
            content = read_json(path)
            if content is None:
                return None
            return ServerRecord(
                ServerState(
                    url=str(content["url"]),
                    port=int(content["port"]),
                    pid=int(content["pid"]),
                    store_uri=str(content["store_uri"]),
                    protected=content.get("protected") is True,
                ),
                started=str(content["started"]),
                mark=str(content["mark"]),
            )
        except (FileError, ValueError, KeyError, TypeError):
            return None


_FOREIGN_SETTINGS = ("MLFLOW_", "_MLFLOW_", "UVICORN_", VARIABLE)
"""Prefixes of variables that the server must not see: credentials of a remote server, a disabled
security middleware, another program's options."""


def launch(store_uri: str, port: int, home: Path, log_path: Path, awaited: bool) -> ServerRecord:
    """Start a server in a session of its own and return at once.

    Its port is open when this returns. It asks for a password if there is one in `home`.

    Args:
        store_uri: SQLite store with an absolute path.
        port: the wanted port; another one is taken if it is not free.
        home: working directory of the server, and the folder of its artifacts.
        log_path: file that its output is appended to.
        awaited: it starts at once; if not, only when a core is idle or somebody connects.

    Raises:
        OSError: the process cannot be started.
        TrackingError: there is no free port.
    """
    ensure_home()
    password = password_file(home)
    protection = {VARIABLE: str(password)} if password.exists() else {}
    mark = secrets.token_hex(16)
    log = os.open(rotated_log(log_path), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        # MLflow would open its port seconds later, when another process may have it. So it gets a
        # socket that listens already, as its standard input.
        with listen(port) as listener:
            port = int(listener.getsockname()[1])
            command = _command(store_uri, port, home)
            if not awaited:
                command = [
                    sys.executable,
                    "-P",
                    "-m",
                    "explr.tracking.mlflow.serving.standby",
                    *command,
                ]
            process = subprocess.Popen(
                command,
                stdin=listener.fileno(),
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=home,
                env=_environment(os.environ, mark) | protection,
                start_new_session=True,
            )
    finally:
        os.close(log)
    lower_priority(process.pid, LOW)
    started = identity_of(process.pid).started
    process.returncode = 0  # else Popen warns that it still runs
    state = ServerState(f"http://{HOST}:{port}", port, process.pid, store_uri, bool(protection))
    return ServerRecord(state, started, mark)


def _command(store_uri: str, port: int, home: Path) -> list[str]:
    # Artifacts of the local store have file:// addresses, which the server reads directly. So its
    # artifact proxy, through which any local client could write files, is off.
    return [
        *(sys.executable, "-P", "-m", "mlflow", "server"),
        *("--backend-store-uri", store_uri),
        *("--default-artifact-root", artifact_root(home).as_uri()),
        "--no-serve-artifacts",
        *("--host", HOST, "--port", str(port), "--workers", "1"),
        *("--allowed-hosts", f"localhost:{port},{HOST}:{port}"),
        *("--app-name", "explr"),
        *("--uvicorn-opts", "--fd 0 --loop asyncio --no-access-log"),
    ]


def _environment(environment: Mapping[str, str], mark: str) -> dict[str, str]:
    kept = {k: v for k, v in environment.items() if not k.startswith(_FOREIGN_SETTINGS)}
    return {
        **kept,
        **past_proxies(kept),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PYTHONPATH": python_path(),
        "PYTHONSAFEPATH": "1",  # its own processes neither import what lies in its folder
        "PYTHONUTF8": "1",
        MARK: mark,
    }
