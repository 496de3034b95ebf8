"""What is written down about a running MLflow server, so that any later process finds it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from explr.utils.processes import ProcessIdentity, session_of

if TYPE_CHECKING:
    import psutil

MARK = "EXPLR_SERVER_MARK"
"""Variable that tells a server's processes from those of any other session."""


@dataclass(frozen=True)
class ServerState:
    """A local MLflow server that was started.

    Args:
        url: its address, without a trailing slash.
        port: its port on the loopback interface.
        pid: the process that was started for it, which leads its session.
        store_uri: the store that it serves.
    """

    url: str
    port: int
    pid: int
    store_uri: str

    def experiment_url(self, experiment_id: str) -> str:
        """The page of an experiment in MLflow's UI."""
        return f"{self.url}/#/experiments/{experiment_id}"

    def run_url(self, experiment_id: str, run_id: str) -> str:
        """The page of a run in MLflow's UI."""
        return f"{self.experiment_url(experiment_id)}/runs/{run_id}"


@dataclass(frozen=True)
class ServerRecord:
    """A server, and what tells its processes from all others.

    Args:
        state: what others may know.
        started: the moment at which its first process started.
        mark: value of `MARK` in the environment of all its processes.
    """

    state: ServerState
    started: str
    mark: str

    def processes(self) -> list[psutil.Process]:
        """Its running processes: also those that outlived the first one, never a stranger's."""
        leader = ProcessIdentity(self.state.pid, self.started)
        return session_of(leader, (MARK, self.mark))

    def write(self, path: Path) -> None:
        """Put it at `path` in one step, readable by the user alone.

        Raises:
            OSError: it cannot be written.
        """
        content = {
            **asdict(self.state),
            "session": self.state.pid,
            "started": self.started,
            "mark": self.mark,
        }
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w") as file:
            json.dump(content, file, indent=1)
        aside.replace(path)

    @staticmethod
    def read(path: Path) -> ServerRecord | None:
        """The record at `path`, or None where there is none that can be understood."""
        try:
            content = json.loads(path.read_text())
            return ServerRecord(
                ServerState(
                    url=str(content["url"]),
                    port=int(content["port"]),
                    pid=int(content["pid"]),
                    store_uri=str(content["store_uri"]),
                ),
                started=str(content["started"]),
                mark=str(content["mark"]),
            )
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
