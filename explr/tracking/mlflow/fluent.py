"""Makes a tracked run active in MLflow's fluent API, for trainings that call MLflow themselves."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from explr.core.errors import TrackingError
from explr.tracking.home import ensure_home
from explr.tracking.journal.position import Position, read_position
from explr.tracking.mlflow.names import MAX_TAG, legal_name, short_value
from explr.tracking.mlflow.private import fluent_calls_to, replaced
from explr.tracking.shipping.awaiting import awaiting
from explr.utils.environment import environment

RUN_WAIT_S = 120.0
"""How long to wait for the run; on a slow machine, creating the store takes 30 s."""
POLL_S = 0.02


@contextmanager
def active_run(journal: Path, uri: str, until: int = 0) -> Iterator[Any]:
    """Wait until a run exists in MLflow, and make it the active one within the block.

    Args:
        journal: journal of the run.
        uri: tracking URI that it goes to.
        until: bytes of the journal that MLflow is to have first.

    Raises:
        TrackingError: MLflow cannot create the run, or did not in `RUN_WAIT_S`; or another thread
            of this process has such a block for another store or experiment.
    """
    with awaiting(uri):
        position = _wait_for_run(journal, until)
    run_id = position.run_id
    ensure_home()
    import mlflow

    active = mlflow.active_run()
    if active is not None and active.info.run_id == run_id:  # a block within a block
        yield active
        return
    with _process.opened(uri, position.experiment_id, run_id):
        run, status = mlflow.start_run(run_id=run_id), "FAILED"
        try:
            yield run
            status = "FINISHED"
        finally:
            _end_runs(status)


def _end_runs(status: str) -> None:
    """End the run, and those that were nested in it and left open."""
    import mlflow

    with environment({"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}):
        while mlflow.active_run() is not None:
            mlflow.end_run(status)


def _wait_for_run(journal: Path, until: int) -> Position:
    deadline = time.monotonic() + RUN_WAIT_S
    position = read_position(journal)
    while not position.run_id or position.offset < until:
        if position.stuck or time.monotonic() >= deadline:
            if position.run_id:
                break
            reason = position.error or f"it did not answer in {RUN_WAIT_S:g} s"
            raise TrackingError(f"MLflow did not create the run: {reason}")
        time.sleep(POLL_S)
        position = read_position(journal)
    return position


class _Process:
    """The blocks that are open in this process, and what MLflow has once for all its threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: list[str] = []
        self._place: tuple[str, str] | None = None
        self._stack = ExitStack()

    @contextmanager
    def opened(self, uri: str, experiment_id: str, run_id: str) -> Iterator[None]:
        """Have MLflow's calls go to the run's store and experiment, and spare the run, within."""
        place = (uri, experiment_id)
        with self._lock:
            if self._runs and place != self._place:
                raise TrackingError(
                    "ctx.tracker.mlflow_run() is open in another thread for another store or "
                    "experiment, and MLflow's own calls have one of each in a process: open them "
                    "one after the other"
                )
            if not self._runs:
                with ExitStack() as stack:
                    stack.enter_context(fluent_calls_to(uri, experiment_id))
                    stack.enter_context(replaced(uri, self._sparing))
                    self._stack, self._place = stack.pop_all(), place
            self._runs.append(run_id)
        try:
            yield
        finally:
            with self._lock:
                self._runs.remove(run_id)
                if not self._runs:
                    self._stack.close()

    def _sparing(self, store: Any) -> dict[str, Any]:
        """Methods of a store under which MLflow's calls change nothing that explr has recorded.

        A parameter that has another value becomes a tag, as when explr uploads one. The status
        stays RUNNING: explr ends the run when the training ends.
        """
        from mlflow.entities import RunStatus, RunTag
        from mlflow.exceptions import MlflowException

        log, update = store.log_batch, store.update_run_info

        def log_batch(run_id: str, metrics: Any, params: Any, tags: Any) -> None:
            try:
                log(run_id, metrics, params, tags)
            except MlflowException as error:
                if run_id not in self._runs or error.error_code != "INVALID_PARAMETER_VALUE":
                    raise
                known = store.get_run(run_id).data.params
                changed = [p for p in params if known.get(p.key, p.value) != p.value]
                if not changed:
                    raise
                log(run_id, [], [], [RunTag(*_changed(p.key, p.value)) for p in changed])
                log_batch(run_id, metrics, [p for p in params if p not in changed], tags)

        def log_param(run_id: str, param: Any) -> None:
            log_batch(run_id, [], [param], [])

        def update_run_info(run_id: str, run_status: Any, end_time: Any, run_name: Any) -> Any:
            if run_id not in self._runs:
                return update(run_id, run_status, end_time, run_name)
            if run_name is not None:
                return update(run_id, RunStatus.RUNNING, None, run_name)
            return None

        return {"log_batch": log_batch, "log_param": log_param, "update_run_info": update_run_info}


def _changed(name: str, value: str) -> tuple[str, str]:
    return legal_name(f"changed.{name}"), short_value(value, MAX_TAG)


_process = _Process()
