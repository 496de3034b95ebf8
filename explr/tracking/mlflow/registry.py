"""MLflow's model registry: the best model of a run or of a sweep as a version with an alias."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from explr.core.errors import TrackingError
from explr.core.folders import BestTrial
from explr.tracking.journal.position import read_position

if TYPE_CHECKING:
    from mlflow import MlflowClient


ALIAS = "best"
"""The alias of the version that was registered last."""

MODEL_FOLDER = "model"
"""Where a registered model lies among its run's artifacts."""

VERSION_TAG = "explr.run"
"""Tag of a version that names the run it came from, so that a replay registers none twice."""


def name_fault(name: str | None) -> str | None:
    """What is wrong with the name of a registered model, or None."""
    if name is None or (name.strip() and not set("/:") & set(name) and name not in (".", "..")):
        return None
    return f"the name of a registered model has no '/' and no ':', got {name!r}"


def register(client: MlflowClient, name: str, model: Path, run: Path, about: str) -> str:
    """Upload a model into its run and make it a version; a second time only sets the alias.

    A folder with an `MLmodel` in it is a model of MLflow's own, and keeps its signature.

    Args:
        client: MLflow's client for the store.
        name: name of the registered model.
        model: a file or folder.
        run: journal of the run that the model came from.
        about: a line for the version's description.

    Returns:
        The version.

    Raises:
        TrackingError: MLflow does not have the run yet.
        MlflowException, OSError: it cannot be registered now.
    """
    from mlflow.exceptions import MlflowException

    run_id = read_position(run).run_id
    if not run_id:
        raise TrackingError(f"the run of {model} is not in MLflow yet: `explr sync` ships it")
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    quote = '"' if "'" in name else "'"  # MLflow's grammar knows no escapes
    versions = client.search_model_versions(f"name={quote}{name}{quote}")
    version = next((v for v in versions if v.tags.get(VERSION_TAG) == run_id), None)
    if version is None:
        if model.is_dir():
            client.log_artifacts(run_id, str(model), MODEL_FOLDER)
        else:
            client.log_artifact(run_id, str(model), MODEL_FOLDER)
        source = f"{client.get_run(run_id).info.artifact_uri}/{MODEL_FOLDER}"
        tags = {VERSION_TAG: run_id}
        version = client.create_model_version(name, source, run_id, tags, description=about)
    client.set_registered_model_alias(name, ALIAS, str(version.version))
    return str(version.version)


def describe(best: BestTrial) -> str:
    """A line for the description of the model of a sweep's best trial."""
    params = ", ".join(f"{key}={value}" for key, value in best.params.items())
    return f"trial {best.number} of {best.trials}: {best.metric} {best.value:.6g} with {params}"
