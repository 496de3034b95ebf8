"""One tracked run, from its first event to its last, and the waiting for MLflow at the end."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from explr.core.errors import TrackingError
from explr.tracking.client import ExplrTracker
from explr.tracking.companion import ensure_companion
from explr.tracking.home import is_local_store, local_store_uri
from explr.tracking.journal import VERSION, Journal
from explr.tracking.processes import identity_of
from explr.tracking.server import MLflowServer, autostart_allowed
from explr.tracking.spool import Entry, Position, enter, entries, read_position
from explr.tracking.sweeps import Sweep

Status = Literal["FINISHED", "FAILED", "KILLED"]
"""How a run ended, in MLflow's words."""

RUN_WAIT_S = 120.0
"""How long `mlflow_run` waits; making a new store alone can take 30 s on a slow machine."""


@dataclass(frozen=True)
class Destination:
    """Where runs go.

    Args:
        uri: tracking URI; None stands for the local store.
        autostart: start an MLflow server for the local store.
        port: first port to try for it.
        drain_timeout_s: how long the end of a command waits for MLflow to catch up.
        companion: start a process that ships from this machine.
    """

    uri: str | None = None
    autostart: bool = True
    port: int = 5000
    drain_timeout_s: float = 10.0
    companion: bool = True

    def beside(self, sweep: Sweep | None) -> Destination:
        """The destination of a job of `sweep`, whose controller ships for its own machine."""
        return replace(self, companion=sweep is None or not sweep.is_here)

    @property
    def resolved_uri(self) -> str:
        """The tracking URI, whichever way it was given."""
        return self.uri or local_store_uri()


class TrackedRun:
    """A run that is being recorded.

    Args:
        journal: its journal.
        destination: where it goes.
    """

    def __init__(self, journal: Journal, destination: Destination) -> None:
        self.journal = journal
        self.destination = destination
        self.tracker = ExplrTracker(journal, journal.path.parent, self._mlflow_run)
        self.closed = False

    @property
    def position(self) -> Position:
        """How far the run has reached MLflow."""
        return read_position(self.journal.path)

    def close(self, status: Status) -> None:
        """Record how the run ended; a second call changes nothing."""
        if not self.closed:
            self.closed = True
            self.journal.append("end", status=status)
            self.journal.close()

    def drain(self) -> int:
        """Wait until MLflow has everything below the run's folder, `drain_timeout_s` at most.

        Returns:
            How many journals it has not wholly.
        """
        deadline = time.monotonic() + self.destination.drain_timeout_s
        folder = self.journal.path.parent.resolve()
        while True:
            waiting = [
                entry
                for entry in entries(self.destination.resolved_uri)
                if Path(entry.journal).is_relative_to(folder)
            ]
            if not waiting or time.monotonic() >= deadline:
                return len(waiting)
            time.sleep(0.02)

    @property
    def address(self) -> str | None:
        """Address of the run in MLflow's UI; None where it is not known (yet)."""
        position = self.position
        uri = self.destination.resolved_uri
        if not position.run_id:
            return None
        path = f"#/experiments/{position.experiment_id}/runs/{position.run_id}"
        if uri.startswith(("http://", "https://")):
            return f"{uri.rstrip('/')}/{path}"
        state = MLflowServer(uri).state() if is_local_store(uri) else None
        return f"{state.url}/{path}" if state else None

    @contextmanager
    def _mlflow_run(self) -> Iterator[Any]:
        deadline = time.monotonic() + RUN_WAIT_S
        while not (position := self.position).run_id:
            if time.monotonic() >= deadline:
                reason = position.error or "it did not answer"
                raise TrackingError(f"MLflow did not create the run in {RUN_WAIT_S:g} s: {reason}")
            time.sleep(0.02)
        import mlflow

        before = mlflow.get_tracking_uri()
        mlflow.set_tracking_uri(self.destination.resolved_uri)
        try:
            with mlflow.start_run(run_id=position.run_id) as run:
                yield run
        finally:
            mlflow.set_tracking_uri(before)


def open_run(
    folder: Path,
    destination: Destination,
    *,
    experiment: str,
    name: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
    parent: Path | None = None,
    first_files: tuple[Path, ...] = (),
    last_files: tuple[Path, ...] = (),
) -> TrackedRun:
    """Begin to record a run.

    Args:
        folder: folder of the run, where its journal goes.
        destination: where the run goes.
        experiment: name of the MLflow experiment.
        name: name of the run.
        params: its parameters, nested or flat.
        tags: its tags.
        parent: journal of the sweep that the run belongs to.
        first_files: files that are kept with the run as they are now.
        last_files: files that are kept with the run as they are when it ends.

    Raises:
        TrackingError: the folder or EXPLR_HOME cannot be written, or no companion starts.
    """
    me = identity_of()
    journal = Journal.create(folder)
    journal.append(
        "start",
        v=VERSION,
        experiment=experiment,
        name=name,
        g=dict(tags),
        parent=str(parent) if parent else None,
        pid=me.pid,
        started=me.started,
        host=socket.gethostname(),
        last=[str(path) for path in last_files],
    )
    run = TrackedRun(journal, destination)
    run.tracker.log_params(params)
    for path in first_files:
        journal.append("artifact", f=str(path), d="")
    uri = destination.resolved_uri
    enter(Entry(str(journal.path.resolve()), uri, me.pid, me.started, socket.gethostname()))
    if destination.companion:
        serve = autostart_allowed(destination.autostart)
        ensure_companion(uri, serve=serve, port=destination.port)
    return run


def closing_line(run: TrackedRun) -> str:
    """Wait for MLflow as long as configured; then tell where the run is, or what waits."""
    waiting = run.drain()
    address = run.address
    if waiting:
        folder = run.journal.path.parent
        reason = f" ({run.position.error})" if run.position.error else ""
        runs = "1 run" if waiting == 1 else f"{waiting} runs"
        return (
            f"MLflow has not caught up with {runs}{reason}: shipping goes on in the background, "
            f"and `explr sync {folder}` takes it up again"
        )
    return f"MLflow: {address or f'run {run.position.run_id} in {run.destination.resolved_uri}'}"
