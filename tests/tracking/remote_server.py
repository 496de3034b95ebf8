"""A real MLflow server that passes artifacts on to its own store."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ports import held_port


class Server:
    """A real MLflow server, which can be killed and brought back."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.uri = f"http://127.0.0.1:{port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--port", str(self.port)),
                *("--workers", "1", "--uvicorn-opts", "--loop asyncio --no-access-log"),
                *("--backend-store-uri", f"sqlite:///{self.folder}/remote.db"),
                *("--artifacts-destination", str(self.folder / "artifacts")),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            # Not the home of the test that starts it, which ends all processes of its home.
            env={**os.environ, "EXPLR_HOME": "", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        )

    def kill(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


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
