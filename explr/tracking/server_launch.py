"""How MLflow's server is started: its command line, its environment, its session."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from explr.tracking.home import artifact_root, rotated_log
from explr.tracking.loopback import HOST, listen, past_proxies
from explr.tracking.server_record import MARK, ServerRecord, ServerState
from explr.utils.priority import stand_back
from explr.utils.processes import identity_of

_FOREIGN_SETTINGS = ("MLFLOW_", "_MLFLOW_", "UVICORN_")
"""Settings that would change the server or reach it for no reason: credentials of a remote server,
a disabled security middleware, another program's options."""


def launch(store_uri: str, port: int, home: Path, log_path: Path) -> ServerRecord:
    """Start a server in a session of its own and return at once.

    Args:
        store_uri: SQLite store with an absolute path.
        port: the wanted port; another one is taken if it is not free.
        home: working directory of the server, and the folder of its artifacts.
        log_path: file that its output is appended to.

    Raises:
        OSError: the process cannot be started.
        TrackingError: there is no free port.
    """
    mark = secrets.token_hex(16)
    log = os.open(rotated_log(log_path), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        # MLflow would take its port seconds later, when another process may have it. So it is
        # given a socket that listens already, as its standard input, which it hands down.
        with listen(port) as listener:
            port = int(listener.getsockname()[1])
            process = subprocess.Popen(
                _command(store_uri, port, home),
                stdin=listener.fileno(),
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=home,
                env=_environment(os.environ, mark),
                start_new_session=True,
            )
    finally:
        os.close(log)
    stand_back(process.pid)
    started = identity_of(process.pid).started
    process.returncode = 0  # nobody waits for it, and Popen is not to complain of that
    state = ServerState(f"http://{HOST}:{port}", port, process.pid, store_uri)
    return ServerRecord(state, started, mark)


def _command(store_uri: str, port: int, home: Path) -> list[str]:
    # Runs of the local store have file:// addresses, which the server reads by itself. Its
    # artifact proxy, through which any local client could write files, is not needed for them.
    return [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--backend-store-uri", store_uri),
        *("--default-artifact-root", artifact_root(home).as_uri()),
        "--no-serve-artifacts",
        *("--host", HOST, "--port", str(port), "--workers", "1"),
        *("--allowed-hosts", f"localhost:{port},{HOST}:{port}"),
        *("--uvicorn-opts", "--fd 0 --loop asyncio --no-access-log"),
    ]


def _environment(environment: Mapping[str, str], mark: str) -> dict[str, str]:
    kept = {k: v for k, v in environment.items() if not k.startswith(_FOREIGN_SETTINGS)}
    return past_proxies(kept) | {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        MARK: mark,
    }
