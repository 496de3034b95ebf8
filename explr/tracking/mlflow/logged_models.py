"""Logged models of MLflow: uploads a model that a run has logged, once."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from explr.core.folders import replace_file
from explr.tracking.mlflow.names import MAX_TAG, legal_name, short_value
from explr.tracking.mlflow.registry import version_of
from explr.tracking.mlflow.timeouts import time_out, upload_limit_s
from explr.tracking.tree import files_below

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel as MlflowModel
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

    from explr.tracking.shipping.sink import LoggedModel


MODEL_TAG = "explr.model"
"""Tag of a logged model, and of a version of it, with the name of its folder in the run's one."""

VERSIONS_TAG = "mlflow.modelVersions"
"""MLflow's tag of a logged model with the versions that it became."""

OF_THE_RUN = ("mlflow.user", "mlflow.source.")
"""How the run's tags begin that a logged model has too."""


def log_model(client: MlflowClient, run_id: str, path: Path, model: LoggedModel) -> None:
    """Upload a model and attach it to its run; a second call adds nothing.

    Args:
        client: MLflow's client for the store.
        run_id: the run that has logged the model.
        path: folder of the model in MLflow's format; its name is like no other.
        model: what MLflow shows of it.
    """
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    run = client.get_run(run_id)
    entry = find_model(client, run, path.name) or _create(client, run, path.name, model)
    if entry.status == LoggedModelStatus.READY:
        return
    outputs = run.outputs.model_outputs if run.outputs else ()
    if all(output.model_id != entry.model_id for output in outputs):
        client.log_outputs(run_id, [LoggedModelOutput(entry.model_id, model.step)])
    _log_metrics(client, run_id, entry.model_id, model)
    _write_identity(path / "MLmodel", run_id, entry)
    largest = max((path / name).stat().st_size for name in files_below(path).files)
    with time_out(upload_limit_s(largest)):
        client.log_model_artifacts(entry.model_id, str(path))
    if model.registered_as is not None:
        _register(client, run_id, entry, path.name, model.registered_as)
    client.finalize_logged_model(entry.model_id, LoggedModelStatus.READY)


def give_up(client: MlflowClient, run_id: str, name: str) -> None:
    """Have MLflow show a model as failed whose upload was refused.

    Args:
        client: MLflow's client for the store.
        run_id: the run that has logged the model.
        name: the name of its folder.
    """
    entry = find_model(client, client.get_run(run_id), name)
    if entry is not None:
        client.finalize_logged_model(entry.model_id, "FAILED")


def find_model(client: MlflowClient, run: Run, name: str) -> MlflowModel | None:
    """The logged model of a folder; None if it was not created yet.

    Args:
        client: MLflow's client for the store.
        run: the run that has logged the model.
        name: the name of its folder.
    """
    experiments = [str(run.info.experiment_id)]
    found = client.search_logged_models(experiments, f"tags.`{MODEL_TAG}` = '{name}'")
    return next((entry for entry in found if entry.source_run_id == run.info.run_id), None)


def _create(client: MlflowClient, run: Run, name: str, model: LoggedModel) -> MlflowModel:
    tags = {k: v for k, v in run.data.tags.items() if k.startswith(OF_THE_RUN)}
    tags |= {legal_name(k): short_value(v, MAX_TAG) for k, v in model.tags.items()}
    return client.create_logged_model(
        str(run.info.experiment_id),
        model.name,
        run.info.run_id,
        {**tags, MODEL_TAG: name},
        {**{legal_name(k): v for k, v in model.params.items()}, **run.data.params},
        model.model_type,
    )


def _log_metrics(client: MlflowClient, run_id: str, model_id: str, model: LoggedModel) -> None:
    """Show the run's metrics at the step of the model with it; the run has these rows already."""
    from mlflow.entities import Metric

    rows = [
        Metric(legal_name(name), value, at_ms, model.step, model_id=model_id, run_id=run_id)
        for name, (at_ms, value) in model.metrics.items()
        if not math.isnan(value)  # MLflow would show it as 0 here, and 3.13 takes it only once
    ]
    if rows:
        client.log_batch(run_id, rows, synchronous=True)


def _register(
    client: MlflowClient, run_id: str, entry: MlflowModel, folder: str, name: str
) -> None:
    """Make a logged model a version of a registered model."""
    # Not `models:/ID`, which MLflow would look for in the store of its global tracking URI.
    source, tags = entry.artifact_location, {MODEL_TAG: folder}

    def create() -> ModelVersion:
        return client.create_model_version(name, source, run_id, tags, model_id=entry.model_id)

    version = version_of(client, name, tags, create)
    shown = json.dumps([{"name": name, "version": int(version.version)}])
    client.set_logged_model_tags(entry.model_id, {VERSIONS_TAG: shown})


def _write_identity(file: Path, run_id: str, entry: MlflowModel) -> None:
    """Write into a saved model what MLflow writes there when it logs one."""
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    content |= {
        "artifact_path": entry.artifact_location,
        "model_id": entry.model_id,
        "model_uuid": entry.model_id,
        "run_id": run_id,
    }
    replace_file(file, yaml.safe_dump(content, allow_unicode=True), private=False)
