"""Saves models in MLflow's format into the run's folder, from where they are uploaded."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

from explr.core.errors import ExplrError, MissingDependencyError, TrackingError, one_line
from explr.core.numbers import described
from explr.core.secrets.masking import redacted, redacted_text
from explr.tracking.mlflow.names import folder_name
from explr.tracking.mlflow.registry import name_fault
from explr.utils.environment import environment

FOLDER = "logged_models"
"""Folder of a run's folder that holds a folder for each logged model."""

FLAVORS = {
    "torch": "pytorch",
    "keras": "keras",
    "transformers": "transformers",
    "sklearn": "sklearn",
}
"""MLflow's module that saves the models of a package."""

TEXTS = ("MLmodel", "conda.yaml", "constraints.txt", "python_env.yaml", "requirements.txt")
"""Files of a saved model that describe it."""

_ILLEGAL = frozenset("/:.%\"'")
"""Characters that the name of a model has not; from `mlflow.utils.validation`."""


def check_names(name: Any, registered_as: str | None) -> None:
    """Check the name of a logged model, and of the registered model that gets it.

    Raises:
        ValueError: MLflow does not accept one.
    """
    if fault := name_fault(registered_as if registered_as is None else str(registered_as)):
        raise ValueError(f"log_model: {fault}")
    if not isinstance(name, str) or not name.strip() or _ILLEGAL & set(name):
        raise ValueError(f"log_model: a name is a text without / : . % \" and ', got {name!r}")


def flavor_of(model: Any) -> str:
    """The name of MLflow's module that saves a model.

    Raises:
        TypeError: the model is of no framework that is known here.
    """
    if isinstance(model, Mapping):
        if any("transformers" in _packages(part) for part in model.values()):
            return "transformers"
    else:
        packages = _packages(model)
        found = next((FLAVORS[package] for package in packages if package in FLAVORS), None)
        if found == "transformers" and "torch" in packages:
            raise TypeError(
                "log_model: MLflow saves a model of Transformers with its tokenizer or processor: "
                'pass a pipeline, or {"model": model, "tokenizer": tokenizer}'
            )
        if found is not None:
            return found
    raise TypeError(
        "log_model takes a model of PyTorch, Lightning, Keras or scikit-learn, or a pipeline of "
        f"Transformers, got {described(model)}: MLflow's own log_model takes others within "
        "ctx.tracker.mlflow_run()"
    )


def save_model(model: Any, name: str, run_folder: Path, options: Mapping[str, Any]) -> Path:
    """Save a model in MLflow's format.

    Args:
        model: the model, which is left as it was.
        name: its name.
        run_folder: folder of the run.
        options: further arguments of the flavor's `save_model`.

    Returns:
        The folder of the model, which is like no other.

    Raises:
        TypeError: the model is of no framework that is known here.
        MissingDependencyError: MLflow is not installed.
        TrackingError: the model cannot be saved.
    """
    flavor = flavor_of(model)
    try:
        module: Any = import_module(f"mlflow.{flavor}")
    except ImportError as error:
        raise MissingDependencyError(
            f"log_model needs MLflow with mlflow.{flavor}, which cannot be imported "
            f"({one_line(error)}): pip install mlflow"
        ) from error
    given = {key: value for key, value in options.items() if value is not None}
    if "metadata" in given:
        given["metadata"] = redacted(given["metadata"])
    around = {"pytorch": _for_prediction, "transformers": _without_hub}.get(flavor, nullcontext)
    path = run_folder / FOLDER / f"{folder_name(name)}-{uuid.uuid4().hex[:12]}"
    try:
        path.mkdir(parents=True)
        if flavor == "pytorch" and "input_example" in given:
            given["input_example"] = _arrays(given["input_example"])
        with around(model):
            module.save_model(model, str(path), **given)
        for cache in list(path.rglob("__pycache__")):  # MLflow has loaded the model to look at it
            shutil.rmtree(cache)
        _mask(path)
    except BaseException as error:
        shutil.rmtree(path, ignore_errors=True)
        if isinstance(error, ExplrError) or not isinstance(error, Exception):
            raise
        raise TrackingError(
            f"log_model: mlflow.{flavor} cannot save {name!r}: {one_line(error)}"
        ) from error
    return path


def _packages(model: Any) -> list[str]:
    """Packages of a model's class and of those that it inherits from, in their order."""
    return [kind.__module__.partition(".")[0] for kind in type(model).__mro__]


@contextmanager
def _for_prediction(model: Any) -> Iterator[None]:
    """Have a model of PyTorch on the CPU and ready to predict, as MLflow expects, in the block."""
    modes = [(module, module.training) for module in model.modules()]
    devices = {tensor.device for tensor in (*model.parameters(), *model.buffers())}
    try:
        if len(devices) == 1:
            model.cpu()
        model.eval()
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        if len(devices) == 1:
            model.to(devices.pop())


@contextmanager
def _without_hub(model: Any) -> Iterator[None]:
    """Have `mlflow.transformers` not ask the Hugging Face Hub for the base model's card."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        with environment({"HF_HUB_OFFLINE": "1"}):
            yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _arrays(example: Any) -> Any:
    """An example with arrays in place of tensors: MLflow keeps these, and loads such a model."""
    if isinstance(example, (list, tuple)):
        return [_arrays(each) for each in example]
    return example.numpy(force=True) if hasattr(example, "numpy") else example


def _mask(path: Path) -> None:
    """Take secrets out of the files that describe a saved model."""
    for file in (path / name for name in TEXTS):
        if file.exists() and (clean := redacted_text(text := file.read_text())) != text:
            file.write_text(clean)
