"""MLflow's model registry: adds the best model of a run or sweep as a version with an alias."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from explr.core.folders import BestTrial

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


ALIAS = "best"
"""Alias of the version that was registered last."""

MODEL_FOLDER = "model"
"""Folder of a registered model among its run's artifacts."""

VERSION_TAG = "explr.run"
"""Tag with the run that a version came from; a run is registered once."""


def name_fault(name: str | None) -> str | None:
    """What is wrong with the name of a registered model; None if nothing is."""
    if name is None or (name.strip() and not set("/:") & set(name) and name not in (".", "..")):
        return None
    return f"the name of a registered model has no '/' and no ':', got {name!r}"


def register(client: MlflowClient, run_id: str, model: Path, name: str, about: str) -> str:
    """Upload a model into its run and make it a version; a second call only sets the alias.

    A folder with an `MLmodel` file is a model of MLflow's own format and keeps its signature.

    Args:
        client: MLflow's client for the store.
        run_id: the run that the model came from.
        model: a file or folder.
        name: name of the registered model.
        about: a line for the version's description.

    Returns:
        The version.
    """
    from explr.tracking.mlflow.upload import upload_tree

    tags = {VERSION_TAG: run_id}

    def create() -> ModelVersion:
        upload_tree(client, run_id, model, MODEL_FOLDER)
        source = f"{client.get_run(run_id).info.artifact_uri}/{MODEL_FOLDER}"
        return client.create_model_version(name, source, run_id, tags, description=about)

    version = version_of(client, name, tags, create)
    client.set_registered_model_alias(name, ALIAS, str(version.version))
    return str(version.version)


def version_of(
    client: MlflowClient, name: str, tags: Mapping[str, str], create: Callable[[], ModelVersion]
) -> ModelVersion:
    """The version of a registered model that has some tags, created if there is none.

    Args:
        client: MLflow's client for the store.
        name: name of the registered model, which is created if there is none.
        tags: what tells the version from others.
        create: creates the version with these tags.
    """
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    quote = '"' if "'" in name else "'"  # MLflow's filters have no escape character
    versions = client.search_model_versions(f"name={quote}{name}{quote}")
    found = (version for version in versions if tags.items() <= version.tags.items())
    return next(found, None) or create()


def describe(best: BestTrial) -> str:
    """The description of a registered model that is a sweep's best trial."""
    params = ", ".join(f"{key}={value}" for key, value in best.params.items())
    return f"trial {best.number} of {best.trials}: {best.metric} {best.value:.6g} with {params}"
