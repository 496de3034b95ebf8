"""The configuration: its schema, and the one typed object that a composed config becomes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from explr.core.errors import ConfigError

MAX_SEED = 2**32 - 1
"""The largest seed that numpy accepts."""


class Direction(Enum):
    """Whether the objective is better when it is small or when it is large."""

    minimize = 1
    maximize = 2


@dataclass
class ObjectiveConfig:
    """What a training is judged by."""

    # name of the metric, as the training logs it
    metric: str = "val_loss"
    # minimize or maximize
    direction: Direction = Direction.minimize


@dataclass
class FrameworkConfig:
    """The deep-learning framework and how it is set up before training."""

    # pytorch or tensorflow
    name: str = MISSING
    # bundled training function, used while `train_model` names no other
    example: str = MISSING
    # bit-exact repeats at the price of speed
    deterministic: bool = False
    # CPU threads within one operation; null leaves it to the framework
    threads: int | None = None


@dataclass
class TunerConfig:
    """What chooses the hyperparameters of a sweep."""

    # none (Hydra's own grid) or optuna
    name: str = MISSING


@dataclass
class OptunaConfig(TunerConfig):
    """A sweep with Optuna."""

    # trials in all
    n_trials: int = 20
    # trials at the same time
    n_jobs: int = 1
    # name of the study; null lets Optuna choose one
    study_name: str | None = None
    # Optuna storage URL; null keeps the study in memory
    storage: str | None = None
    # an Optuna sampler, as a `_target_`
    sampler: dict[str, Any] = field(default_factory=dict)


@dataclass
class TrackingConfig:
    """Where runs are recorded."""

    # mlflow or off
    backend: str = MISSING


@dataclass
class MLflowConfig(TrackingConfig):
    """Runs are mirrored to MLflow."""

    # MLflow tracking URI; null uses the local store in EXPLR_HOME
    uri: str | None = None
    # start an MLflow server for the local store
    autostart: bool = True
    # first port to try for that server
    port: int = 5000
    # seconds that the end of a command waits for MLflow to catch up
    drain_timeout_s: float = 10.0


@dataclass
class GpuConfig:
    """Which device trains, and how much of its memory it may take."""

    # auto, cpu, cuda, or cuda:N
    device: str = "auto"
    # GPU memory in GiB for all that runs at once; 0 sets no limit
    memory_limit_gb: float = 24.0


SCHEMAS: dict[str, type] = {
    "objective": ObjectiveConfig,
    "framework": FrameworkConfig,
    "tuner": TunerConfig,
    "optuna": OptunaConfig,
    "tracking": TrackingConfig,
    "mlflow": MLflowConfig,
    "gpu": GpuConfig,
}
"""Schemas by the name under which Hydra's ConfigStore holds them, in the group `explr/schema`."""

ROOT_KEYS = frozenset(
    {
        "experiment_name",
        "framework",
        "gpu",
        "hydra",
        "objective",
        "search_space",
        "seed",
        "tracking",
        "train_model",
        "tuner",
    }
)
"""Keys of the root that are explr's own; every other key there is a hyperparameter."""


@dataclass(frozen=True)
class ExplrConfig:
    """A composed configuration, checked and typed.

    Args:
        experiment_name: name of the MLflow experiment.
        seed: seed of every random generator, or None to leave them unseeded.
        train_model: the training function: a path to it, or a mapping with `_target_`.
        objective: what the training is judged by.
        framework: the framework and its set-up.
        tuner: what chooses the hyperparameters of a sweep.
        tracking: where the run is recorded.
        gpu: device and memory.
        search_space: ranges by hyperparameter, in Hydra's sweep grammar.
        hyperparameters: every key of the root that is not one of explr's own.
    """

    experiment_name: str
    seed: int | None
    train_model: str | dict[str, Any]
    objective: ObjectiveConfig
    framework: FrameworkConfig
    tuner: TunerConfig
    tracking: TrackingConfig
    gpu: GpuConfig
    search_space: dict[str, Any]
    hyperparameters: dict[str, Any]

    @classmethod
    def from_composed(cls, cfg: DictConfig | Mapping[str, Any]) -> ExplrConfig:
        """Check a composed config and give it its types.

        Args:
            cfg: what `explr.compose` or `hydra.compose` returned, with or without its `hydra` node.

        Raises:
            ConfigError: naming every fault that was found.
        """
        node = cfg if isinstance(cfg, DictConfig) else OmegaConf.create(dict(cfg))
        faults: list[str] = []
        values: dict[str, Any] = {
            "experiment_name": _checked(node, "experiment_name", _name_fault, faults),
            "seed": _checked(node, "seed", _seed_fault, faults),
            "train_model": _checked(node, "train_model", _target_fault, faults),
            "search_space": _plain(node, "search_space", faults) or {},
        }
        for key, schema in _groups(node).items():
            values[key] = _typed(node, key, schema, faults)
        values["hyperparameters"] = {
            str(key): _plain(node, str(key), faults) for key in node if key not in ROOT_KEYS
        }
        faults += _device_faults(values["gpu"]) + _range_faults(values)
        if faults:
            raise ConfigError(faults)
        return cls(**values)


def _groups(node: DictConfig) -> dict[str, type]:
    tuner = OmegaConf.select(node, "tuner.name", throw_on_missing=False)
    backend = OmegaConf.select(node, "tracking.backend", throw_on_missing=False)
    return {
        "objective": ObjectiveConfig,
        "framework": FrameworkConfig,
        "tuner": OptunaConfig if tuner == "optuna" else TunerConfig,
        "tracking": MLflowConfig if backend == "mlflow" else TrackingConfig,
        "gpu": GpuConfig,
    }


def _plain(node: DictConfig, key: str, faults: list[str]) -> Any:
    """Value of `key` in plain Python, interpolations resolved."""
    try:
        if OmegaConf.is_missing(node, key):
            faults.append(f"{key} has no value: set it with {key}=…")
            return None
        value = node.get(key)
        if not OmegaConf.is_config(value):
            return value
        return OmegaConf.to_container(value, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        faults.append(f"{key}: {_first_line(error)}")
        return None


def _checked(node: DictConfig, key: str, fault_of: Any, faults: list[str]) -> Any:
    before = len(faults)
    value = _plain(node, key, faults)
    if len(faults) == before and (fault := fault_of(value)) is not None:
        faults.append(fault)
    return value


def _typed(node: DictConfig, key: str, schema: type, faults: list[str]) -> Any:
    group = OmegaConf.select(node, key)
    if not isinstance(group, DictConfig):
        faults.append(f"{key} must be a mapping with the keys of {schema.__name__}")
        return None
    try:
        values = OmegaConf.to_container(group, resolve=True)  # while the root is still above it
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), values))
    except OmegaConfBaseException as error:
        full_key = getattr(error, "full_key", None)
        faults.append(f"{f'{key}.{full_key}' if full_key else key}: {_first_line(error)}")
        return None


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _name_fault(value: Any) -> str | None:
    if isinstance(value, str) and value.strip():
        return None
    return f"experiment_name must be a text that is not empty, got {value!r}"


def _seed_fault(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_SEED:
        return None
    return f"seed must be an integer from 0 to {MAX_SEED}, or null, got {value!r}"


def _target_fault(value: Any) -> str | None:
    if isinstance(value, str) and value:
        return None
    if isinstance(value, dict) and isinstance(value.get("_target_"), str):
        return None
    return (
        "train_model must be module:function, module.function, path/to/file.py:function, "
        f"or a mapping with _target_, got {value!r}"
    )


def _device_faults(gpu: GpuConfig | None) -> list[str]:
    if gpu is None or re.fullmatch(r"auto|cpu|cuda(:\d+)?", gpu.device):
        return []
    return [f"gpu.device must be auto, cpu, cuda or cuda:N, got {gpu.device!r}"]


def _range_faults(values: Mapping[str, Any]) -> list[str]:
    """Faults of numbers that their type alone does not exclude."""
    least: dict[str, tuple[str, float]] = {
        "gpu.memory_limit_gb": ("gpu", 0),
        "framework.threads": ("framework", 1),
        "tuner.n_trials": ("tuner", 1),
        "tuner.n_jobs": ("tuner", 1),
        "tracking.port": ("tracking", 1),
        "tracking.drain_timeout_s": ("tracking", 0),
    }
    faults = []
    for path, (group, minimum) in least.items():
        value = getattr(values[group], path.partition(".")[2], None)
        if value is not None and not value >= minimum:
            faults.append(f"{path} must be at least {minimum}, got {value}")
    return faults
