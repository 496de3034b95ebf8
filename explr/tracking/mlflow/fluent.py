"""Makes a tracked run active in MLflow's fluent API, for trainings that call MLflow themselves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from explr.core.errors import TrackingError
from explr.tracking.home import ensure_home
from explr.tracking.journal.position import read_position
from explr.tracking.shipping.awaiting import awaiting

RUN_WAIT_S = 120.0
"""How long to wait for the run; on a slow machine, creating the store takes 30 s."""
POLL_S = 0.02


@contextmanager
def active_run(journal: Path, uri: str) -> Iterator[Any]:
    """Wait until a run exists in MLflow, and make it the active one within the block.

    Args:
        journal: journal of the run.
        uri: tracking URI that it goes to.

    Raises:
        TrackingError: MLflow did not create the run in `RUN_WAIT_S`.
    """
    with awaiting(uri):
        run_id = _wait_for_run(journal)
    ensure_home()
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        with mlflow.start_run(run_id=run_id) as run:
            yield run
    finally:
        try:
            # The end of MLflow's block has finished the run.
            mlflow.MlflowClient(tracking_uri=uri).update_run(run_id, status="RUNNING")
        finally:
            mlflow.set_tracking_uri(before)


def _wait_for_run(journal: Path) -> str:
    deadline = time.monotonic() + RUN_WAIT_S
    while not (position := read_position(journal)).run_id:
        if time.monotonic() >= deadline:
            reason = position.error or "it did not answer"
            raise TrackingError(f"MLflow did not create the run in {RUN_WAIT_S:g} s: {reason}")
        time.sleep(POLL_S)
    return position.run_id
