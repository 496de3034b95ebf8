"""Checks a training before it starts, and reports all faults at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from explr.config.saved import by_reference, take_names_of
from explr.config.target import check_train_function, resolve_target
from explr.core.config import ExplrConfig
from explr.core.errors import ConfigError, UsageError
from explr.core.framework import AUTO, NO_FRAMEWORK, Framework
from explr.core.protocols import TrainFunction
from explr.frameworks.base import get_framework
from explr.tracking.data.hashes import check_paths
from explr.tracking.destination import working_directory
from explr.tracking.mlflow.titles import project_name
from explr.tracking.sweeps import current
from explr.utils.gpu import nvidia_gpu_count


@dataclass(frozen=True)
class Prepared:
    """A training that is ready to start.

    Args:
        cfg: the composed config, with its interpolations.
        config: the checked configuration.
        params: the hyperparameters as they may be written to files and to MLflow.
        train_model: the training function.
        train_model_name: how a person finds it: the value in the config, or its qualified name.
        framework: the framework that it uses.
        device: the device that it trains on, in PyTorch's spelling.
        experiment: name of the experiment that it belongs to.
    """

    cfg: DictConfig
    config: ExplrConfig
    params: Mapping[str, Any]
    train_model: TrainFunction
    train_model_name: Any
    framework: Framework
    device: str
    experiment: str


def prepare(cfg: DictConfig, train_model: TrainFunction | None = None) -> Prepared:
    """Check a composed config and resolve what it names.

    Args:
        cfg: the composed config.
        train_model: a function to use in place of the one that the config names.

    Raises:
        UsageError: there is one fault.
        ConfigError: there are several faults; the error names all of them.
    """
    faults: list[UsageError] = []

    def attempt(step: Callable[[], Any]) -> Any:
        try:
            return step()
        except UsageError as error:
            faults.append(error)
            return None

    config: ExplrConfig | None = attempt(lambda: ExplrConfig.from_composed(cfg))
    take_names_of(cfg)
    if faults and not isinstance(faults[0], ConfigError):
        raise faults[0]
    named = [text for fault in faults for text in getattr(fault, "faults", ())]

    def intact(key: str) -> bool:
        return not any(text.startswith((f"{key} ", f"{key}:")) for text in named)

    framework: Framework | None = None
    function: TrainFunction | None = None
    device: str | None = None
    if train_model is not None:
        name = getattr(train_model, "__qualname__", repr(train_model))
        function = attempt(lambda: check_train_function(train_model, name))
    elif intact("train_model"):
        function = attempt(lambda: resolve_target(_select(cfg, "train_model")))
    if intact("framework.name") and intact("framework"):
        name = _select(cfg, "framework.name")
        # Without the function its framework is unknown; the device is still checked.
        unknown = name == AUTO and function is None
        framework = attempt(lambda: get_framework(NO_FRAMEWORK if unknown else name, function))
    if framework is not None and intact("gpu.device") and intact("gpu"):
        resolve = framework.resolve_device
        wanted = config.gpu.device if config is not None else _select(cfg, "gpu.device")
        if isinstance(wanted, str):  # an option of the project's own may lack it
            device = attempt(lambda: resolve(wanted))
    if config is not None and framework is not None and device is not None:
        ranked, placed = framework, device
        attempt(lambda: check_ranks(config.framework.processes, ranked, placed))
    if config is not None:
        given = config.data.listed
        attempt(lambda: check_paths(given, working_directory()))
    if faults:
        lines = list(dict.fromkeys(line for each in faults for line in str(each).splitlines()))
        raise faults[0] if len(faults) == 1 or len(lines) == 1 else ConfigError(lines)
    assert config is not None
    assert function is not None
    assert framework is not None
    assert device is not None
    shown = config.train_model if train_model is None else _qualified(train_model)
    params = by_reference(cfg, config.hyperparameters)
    sweep = current()
    experiment = config.experiment_name or (sweep.experiment if sweep is not None else None)
    experiment = experiment or project_name(shown, working_directory())
    return Prepared(cfg, config, params, function, shown, framework, device, experiment)


def check_ranks(processes: int, framework: Framework, device: str) -> None:
    """Check that a training can have its processes.

    Args:
        processes: how many.
        framework: the framework.
        device: the device of the training.

    Raises:
        UsageError: it cannot.
    """
    if processes == 1:
        return
    given = f"framework.processes={processes}"
    if not framework.has_ranks:
        raise UsageError(
            f"{given} needs framework=pytorch, and this training has framework={framework.name}: "
            "set framework.processes=1"
        )
    if not device.startswith("cuda"):
        return
    if device != "cuda":
        raise UsageError(
            f"{given} takes the first {processes} GPUs, and gpu.device={device} names one: set "
            "gpu.device=cuda, and name the GPUs in CUDA_VISIBLE_DEVICES"
        )
    there = nvidia_gpu_count()
    if there < processes:
        raise UsageError(
            f"{given} needs a GPU for each process, and there are {there}: set fewer processes, or "
            "gpu=cpu"
        )


def framework_of(cfg: DictConfig, train_model: TrainFunction | None = None) -> Framework:
    """The framework of a training; imports neither the training nor the framework.

    Args:
        cfg: the composed config.
        train_model: a function to use in place of the one that the config names.

    Raises:
        UsageError: it cannot be found, or is not installed.
    """
    given = train_model or _select(cfg, "train_model")
    return get_framework(_select(cfg, "framework.name"), given)


def given_to(task: Callable[..., Any]) -> TrainFunction | None:
    """The training function that an app's task was given; None if the config names it."""
    given: TrainFunction | None = getattr(task, "keywords", {}).get("train_model")
    return given


def check_settings(cfg: DictConfig, train_model: TrainFunction | None = None) -> None:
    """Check all that can be checked without importing the training function or its framework.

    Args:
        cfg: the composed config.
        train_model: a function to use in place of the one that the config names.

    Raises:
        UsageError: a setting is wrong.
    """
    config = ExplrConfig.from_composed(cfg)
    check_paths(config.data.listed, working_directory())
    framework = framework_of(cfg, train_model)
    if config.gpu.device not in ("auto", "cpu"):
        framework.resolve_device(config.gpu.device)


def check_target(cfg: DictConfig) -> None:
    """Import the training function.

    Raises:
        UsageError: it is not found, or cannot be called with a context.
    """
    resolve_target(_select(cfg, "train_model"))


def _qualified(function: Any) -> str:
    module = getattr(function, "__module__", type(function).__module__)
    return f"{module}:{getattr(function, '__qualname__', type(function).__qualname__)}"


def _select(cfg: DictConfig, key: str) -> Any:
    value = OmegaConf.select(cfg, key)
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
