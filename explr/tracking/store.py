"""Experiments and runs in MLflow, found again however often they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from explr.core.errors import TrackingError
from explr.tracking.home import artifact_root, is_local_store
from explr.tracking.names import legal_name

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

RUN_TAG = "explr.run"
"""Tag that carries a run's identity from before it exists in MLflow."""


def find_or_create_experiment(client: MlflowClient, name: str, uri: str) -> str:
    """Id of the experiment `name`; two processes that create it at once get the same one.

    Raises:
        TrackingError: the experiment was deleted.
    """
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        location = (artifact_root() / legal_name(name)).as_uri() if is_local_store(uri) else None
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            experiment = client.get_experiment_by_name(name)
    if experiment is None or experiment.lifecycle_stage == "deleted":
        raise TrackingError(
            f"the MLflow experiment {name!r} was deleted: restore it in MLflow, "
            "or set another experiment_name"
        )
    return str(experiment.experiment_id)


def find_run(client: MlflowClient, experiment_id: str, uid: str) -> Run | None:
    """The run that carries our identity `uid`, if it was created before."""
    runs = client.search_runs([experiment_id], f"tags.`{RUN_TAG}` = '{uid}'", max_results=1)
    return runs[0] if runs else None
