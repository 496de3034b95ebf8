"""The configuration: its schema, and the one typed object that a composed config becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf

from explr.core.errors import ConfigError, UsageError
from explr.core.validation import (
    checked,
    device_faults,
    name_fault,
    number_faults,
    objective_faults,
    plain,
    ranges_fault,
    seed_fault,
    target_fault,
    typed,
)


@dataclass
class ObjectiveConfig:
    """What a training is judged by."""

    # name of the metric, as the training logs it; a list of names has several objectives
    metric: str | list[str] = "val_loss"
    # minimize or maximize; for a list of names a list, with one of them for each
    direction: str | list[str] = "minimize"

    @property
    def metrics(self) -> list[str]:
        """Name of each objective."""
        return [self.metric] if isinstance(self.metric, str) else list(self.metric)

    @property
    def directions(self) -> list[str]:
        """Minimize or maximize, for each objective."""
        return [self.direction] if isinstance(self.direction, str) else list(self.direction)

    @property
    def primary(self) -> str:
        """Name of the first objective, which the best model is kept by."""
        return self.metrics[0]

    @property
    def minimize(self) -> bool:
        """Whether the first objective is better when it is small."""
        return self.directions[0] == "minimize"


@dataclass
class FrameworkConfig:
    """The deep-learning framework and how it is set up before training."""

    # pytorch, tensorflow, none (plain Python, NumPy, scikit-learn), or auto: the one that the
    # training imports
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

    # none (Hydra's own grid), optuna or ray
    name: str = MISSING


@dataclass
class SearchConfig:
    """How a sweep searches, whichever tuner it has."""

    # trials in all, those of an interrupted sweep that goes on included
    n_trials: int = 20
    # trials at the same time; auto measures how many fit into memory
    n_jobs: Any = 1  # an int or AUTO; untyped, so that whatever else is given gets one sentence
    # host memory in GiB for all trials at once, where n_jobs is auto; null takes nine tenths of
    # what is free when the sweep starts
    memory_gb: float | None = None
    # seconds after which no trial begins; null sets no limit
    timeout_s: float | None = None
    # seconds after which a trial is ended and has failed; null sets no limit
    trial_timeout_s: float | None = None
    # how often a trial whose process died is tried again, from its checkpoint
    retries: int = 2
    # trainings of each trial, with seeds of their own; their mean is what counts
    replicates: int = 1
    # part of the trials that may fail before the sweep gives up, looked at from the fifth on
    max_failure_rate: float = 1.0
    # name of the study and of its folder below `multirun`; the same name goes on with it
    study_name: str | None = None
    # Optuna storage URL; null keeps a journal in the sweep's folder
    storage: str | None = None
    # known configurations to try first, each a mapping of parameters
    enqueue: list[dict[str, Any]] = field(default_factory=list)
    # what chooses the values: tuner/sampler=…
    sampler: dict[str, Any] = field(default_factory=dict)
    # what ends trials early: tuner/pruner=…
    pruner: dict[str, Any] = field(default_factory=dict)


@dataclass
class OptunaConfig(SearchConfig, TunerConfig):
    """A sweep with Optuna."""


@dataclass
class RayClusterConfig:
    """Which Ray runs a sweep, and what each trial gets of it."""

    # address of a cluster that is there, as host:6379; null starts a Ray of the sweep's own
    address: str | None = None
    # CPUs that each trial takes
    cpus_per_trial: float = 1.0
    # GPUs that each trial takes, fractions too; null divides those there are among the trials
    gpus_per_trial: float | None = None
    # Ray's runtime environment for the trials, such as {pip: [some-package]}
    runtime_env: dict[str, Any] = field(default_factory=dict)
    # further arguments for ray.init
    init: dict[str, Any] = field(default_factory=dict)


@dataclass
class RayConfig(SearchConfig, TunerConfig):
    """A sweep with Ray Tune."""

    # which Ray, and what each trial gets of it
    ray: RayClusterConfig = field(default_factory=RayClusterConfig)


@dataclass
class SweeperConfig(SearchConfig):
    """What a sweeper takes: how to search, for what, and where."""

    # minimize or maximize; for several objectives, a list with one of them for each
    direction: Any = "minimize"  # untyped: in an app of one's own it may be an Enum
    # ranges by parameter, in Hydra's sweep grammar, where the command line names none
    params: dict[str, Any] = field(default_factory=dict)


@dataclass
class TrackingConfig:
    """Where runs are recorded."""

    # mlflow or off
    backend: str = MISSING


@dataclass
class MirrorConfig:
    """How runs reach MLflow."""

    # MLflow tracking URI; null uses the local store in EXPLR_HOME
    uri: str | None = None
    # start an MLflow server for the local store
    autostart: bool = True
    # first port to try for that server
    port: int = 5000
    # seconds that the end of a command waits for MLflow to catch up
    drain_timeout_s: float = 10.0
    # record load and memory of the machine and its GPUs while a run goes on
    system_metrics: bool = True
    # seconds between two looks at the machine
    system_metrics_interval_s: float = 10.0
    # name under which the best model of the run or sweep is registered; null registers none
    register: str | None = None


@dataclass
class MLflowConfig(MirrorConfig, TrackingConfig):
    """Runs are mirrored to MLflow."""


@dataclass
class GpuConfig:
    """Which device trains, and how much of its memory it may take."""

    # auto, cpu, cuda, or cuda:N
    device: str = "auto"
    # GPU memory in GiB for all that runs at once; 0 sets no limit; null takes EXPLR_GPU_MEMORY_GB,
    # your own default, or 24, and on a smaller card nine tenths of it
    memory_limit_gb: float | None = None


SCHEMAS: dict[str, type] = {
    "objective": ObjectiveConfig,
    "framework": FrameworkConfig,
    "tuner": TunerConfig,
    "optuna": OptunaConfig,
    "ray": RayConfig,
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
            UsageError: it is no config of explr's.
        """
        node = cfg if isinstance(cfg, DictConfig) else OmegaConf.create(dict(cfg))
        if not any(key in node for key in _groups(node)):
            raise UsageError("this is no config of explr's: compose one with explr.compose()")
        faults: list[str] = []
        values: dict[str, Any] = {
            "experiment_name": str(checked(node, "experiment_name", name_fault, faults)),
            "seed": checked(node, "seed", seed_fault, faults),
            "train_model": checked(node, "train_model", target_fault, faults),
            "search_space": checked(node, "search_space", ranges_fault, faults) or {},
        }
        for key, schema in _groups(node).items():
            values[key] = typed(node, key, schema, faults)
        values["hyperparameters"] = {
            str(key): plain(node, str(key), faults) for key in node if key not in ROOT_KEYS
        }
        faults += number_faults(values)
        if values["objective"] is not None:
            faults += objective_faults(values["objective"].metrics, values["objective"].directions)
        if values["gpu"] is not None:
            faults += device_faults(values["gpu"].device)
        if faults:
            raise ConfigError(faults)
        return cls(**values)


def _groups(node: DictConfig) -> dict[str, type]:
    tuner = OmegaConf.select(node, "tuner.name", throw_on_missing=False)
    backend = OmegaConf.select(node, "tracking.backend", throw_on_missing=False)
    return {
        "objective": ObjectiveConfig,
        "framework": FrameworkConfig,
        "tuner": {"optuna": OptunaConfig, "ray": RayConfig}.get(str(tuner), TunerConfig),
        "tracking": MLflowConfig if backend == "mlflow" else TrackingConfig,
        "gpu": GpuConfig,
    }
