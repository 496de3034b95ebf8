"""A real MLflow server that passes artifacts on to its own store."""

from __future__ import annotations

import atexit
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from ports import held_port

SERVERS = """
import json, os, signal, sys, warnings
warnings.simplefilter("ignore")  # those of MLflow's own modules
import uvicorn
from mlflow.server.fastapi_app import app

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    port, environment = json.loads(line)
    if (pid := os.fork()) == 0:
        os.setsid()
        os.environ.update(environment)
        sys.stdout = sys.stderr
        uvicorn.run(app, port=port, loop="asyncio", access_log=False)
        os._exit(0)
    print(pid, flush=True)
"""
"""What `mlflow server` runs, imported once: each line of the input starts one."""


STARTERS = """
import os, sys
from explr.tracking.mlflow.store import connect, find_or_create_experiment
import mlflow.store.tracking.sqlalchemy_store
uri = sys.argv[1]
ready, go = os.pipe(), os.pipe()
for _ in range(8):
    if os.fork() == 0:
        code = 1
        try:
            client = connect(uri)
            os.write(ready[1], b"x")
            os.close(go[1])
            os.read(go[0], 1)  # until all are there
            name = find_or_create_experiment(client, "digits", uri)
            os.write(1, f"{name} ".encode())
            code = 0
        finally:
            os._exit(code)
for _ in range(8):
    assert os.read(ready[0], 1)
os.close(go[1])
sys.exit(any(os.wait()[1] for _ in range(8)))
"""
"""Eight processes that make sure of an experiment at the same time, in a new store."""


@cache
def _servers() -> subprocess.Popen[str]:
    """The process that servers are copies of; it ends with this one."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVERS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd="/",
        start_new_session=True,
        # Not the home of the test that starts it, which ends all processes of its home.
        env={**os.environ, "EXPLR_HOME": "", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
    )

    def end() -> None:
        process.communicate()

    atexit.register(end)
    return process


class Server:
    """A real MLflow server, which can be killed and brought back.

    Args:
        folder: where its artifacts are.
        port: where it listens.
        store: its database; a file in the folder, unless another one is named.
    """

    def __init__(self, folder: Path, port: int, store: str | None = None) -> None:
        self.folder = folder
        self.port = port
        self.uri = f"http://127.0.0.1:{port}"
        self._store = store or f"sqlite:///{folder}/remote.db"
        self._pid: int | None = None

    def start(self) -> None:
        environment = {
            "_MLFLOW_SERVER_FILE_STORE": self._store,
            "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(self.folder / "artifacts"),
        }
        servers = _servers()
        assert servers.stdin is not None
        assert servers.stdout is not None
        servers.stdin.write(json.dumps([self.port, environment]) + "\n")
        servers.stdin.flush()
        self._pid = int(servers.stdout.readline())

    def kill(self) -> None:
        if self._pid is None:
            return
        pid, self._pid = self._pid, None
        try:
            ending = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        os.kill(pid, signal.SIGKILL)
        select.select([ending], [], [])
        os.close(ending)


@contextmanager
def begun(folder: Path, template: Path) -> Iterator[Server]:
    """A server whose start has begun, over a copy of a store."""
    shutil.copyfile(template, folder / "remote.db")
    with held_port() as port:
        server = Server(folder, port)
        server.start()
        try:
            yield server
        finally:
            server.kill()
