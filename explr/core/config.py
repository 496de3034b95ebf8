"""The configuration: its schema, and the one typed object that a composed config becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf

from explr.core.errors import ConfigError, UsageError
from explr.core.objective.constraints import constraint_faults
from explr.core.validation import (
    checked,
    device_faults,
    directions_of,
    name_fault,
    number_faults,
    objective_faults,
    paths_faults,
    plain,
    ranges_fault,
    reported_faults,
    seed_fault,
    target_fault,
    typed,
)


@dataclass
class ObjectiveConfig:
    """What a tuner optimizes."""

    # name of the metric, as the training logs it; for several objectives, a list of names
    metric: Any = "val_loss"  # checked by explr: OmegaConf 2.3 knows no `str | list[str]`
    # minimize or maximize; for several objectives, a list with one direction for each; null takes
    # what follows from the well-known name of the metric
    direction: Any = None
    # value of a training that returns none: the last value that it reported, or the best
    reported: str = "last"
    # bounds of metrics that the training returns or logs, as in {latency_ms: "<= 5"}; a trial that
    # violates one is never the best; null sets none
    constraints: Any = None  # a mapping; untyped, so that the command line needs no `+` for a key

    NODE = "objective"
    """Where these settings stand."""

    @property
    def metrics(self) -> list[str]:
        """Name of each objective."""
        return list(self.metric) if isinstance(self.metric, (list, tuple)) else [self.metric]

    @property
    def directions(self) -> list[str]:
        """Minimize or maximize, for each objective.

        Raises:
            ConfigError: it is neither given nor follows from the name of the metric.
        """
        return directions_of(self.metrics, self.direction, self.NODE)

    @property
    def settled(self) -> str | list[str]:
        """The direction as a config writes it: one, or a list for several objectives."""
        found = self.directions
        return found if len(found) > 1 or isinstance(self.direction, (list, tuple)) else found[0]

    def inference(self, node: str = "objective") -> str:
        """A line about the directions that follow from names which were chosen; else empty.

        Args:
            node: where the direction can be set.
        """
        if self.direction is not None or self.metric in (None, ObjectiveConfig.metric):
            return ""
        pairs = zip(self.metrics, self.directions, strict=True)
        said = " and ".join(f"{name} is {way.removesuffix('e')}ed" for name, way in pairs)
        return f"{said}, as the name says; {node}.direction=… sets another direction"

    @property
    def primary(self) -> str:
        """Name of the first objective, which decides which model is the best."""
        return self.metrics[0]

    @property
    def minimize(self) -> bool:
        """Whether the first objective is minimized."""
        return self.directions[0] == "minimize"


@dataclass
class FrameworkConfig:
    """The deep-learning framework, how it is set up before training, and its checkpoints."""

    # pytorch, tensorflow, none (plain Python, NumPy, scikit-learn), or auto: the one that the
    # training imports
    name: str = MISSING
    # bundled training function, used if `train_model` is not set
    example: str = MISSING
    # use deterministic algorithms: results repeat exactly, training is slower
    deterministic: bool = False
    # CPU threads within one operation; null keeps the framework's default
    threads: int | None = None
    # how many of a training's latest checkpoints are kept; at least 2, the latest and a fallback
    keep_checkpoints: int = 2
    # GiB that the kept checkpoints of a training may have together; 2 are kept whatever their
    # size; null sets no limit
    max_checkpoints_gb: float | None = None
    # processes of each training, which PyTorch calls ranks; each has a GPU of its own, if there are
    # GPUs
    processes: int = 1
    # seconds that a process waits for the others in an operation that all of them do together
    collective_timeout_s: float = 1800.0


@dataclass
class TunerConfig:
    """What chooses the hyperparameters of a sweep."""

    # none (Hydra's own grid), optuna or ray
    name: str = MISSING


N_TRIALS = 20
"""Total number of trials, unless a sweep sets one or its sampler has a last one."""


@dataclass
class SearchConfig:
    """How a sweep searches, whichever tuner it has."""

    # total number of trials, including those of a resumed sweep; null runs every combination of a
    # grid, and 20 trials with any other sampler
    n_trials: int | None = None
    # trials that run at the same time; auto measures how many fit into memory
    n_jobs: Any = 1  # an int or AUTO; untyped, so that explr reports a wrong value itself
    # host memory in GiB for all running trials, with n_jobs=auto; null takes 90 % of what is free
    # when the sweep starts
    memory_gb: float | None = None
    # seconds after which no new trial starts; null sets no limit
    timeout_s: float | None = None
    # value of the objective that ends the search once a trial has reached it; null sets none
    target: float | None = None
    # the search ends when a further trial is expected to improve the best value by less than this;
    # null never ends it so
    stop_when: float | None = None
    # seconds after which a trial is stopped and counts as failed; null sets no limit
    trial_timeout_s: float | None = None
    # how often a trial is retried from its checkpoint after its process died, or the disk was full
    retries: int = 2
    # trainings per trial, each with its own seed; the trial's value is their mean
    replicates: int = 1
    # how many of the best trials are trained again with fresh seeds, in the last quarter of the
    # sweep, to tell whether one of them is the best; 0 confirms none
    confirm: int = 0
    # fraction of trials that may fail before the sweep stops; checked from the fifth trial on;
    # 0 stops at the first failure
    max_failure_rate: float = 1.0
    # name of the study and of its folder in `multirun`; an existing name resumes that study
    study_name: str | None = None
    # Optuna storage URL; null stores the study in the sweep's folder
    storage: str | None = None
    # known configurations to try first, each a mapping of parameters
    enqueue: list[dict[str, Any]] = field(default_factory=list)
    # algorithm that chooses the values: tuner/sampler=…
    sampler: dict[str, Any] = field(default_factory=dict)
    # algorithm that stops bad trials early: tuner/pruner=…
    pruner: dict[str, Any] = field(default_factory=dict)


@dataclass
class OptunaConfig(SearchConfig, TunerConfig):
    """A sweep with Optuna."""


@dataclass
class RayClusterConfig:
    """Which Ray runs a sweep, and the resources of each trial."""

    # address of a running cluster, such as host:6379; null starts Ray for this sweep alone
    address: str | None = None
    # CPUs per trial; null takes one for each process of its training
    cpus_per_trial: float | None = None
    # GPUs per trial, may be a fraction; null takes `gpu.per_trial`, or one for each process of its
    # training if these are several, else it divides the GPUs equally among the running trials
    gpus_per_trial: float | None = None
    # Ray's runtime environment for the trials, such as {pip: [some-package]}
    runtime_env: dict[str, Any] = field(default_factory=dict)
    # more arguments for ray.init
    init: dict[str, Any] = field(default_factory=dict)


@dataclass
class RayConfig(SearchConfig, TunerConfig):
    """A sweep with Ray Tune."""

    # which Ray runs the sweep, and the resources of each trial
    ray: RayClusterConfig = field(default_factory=RayClusterConfig)


@dataclass
class SweeperConfig(SearchConfig, ObjectiveConfig):
    """What a sweeper takes: how to search, for what, and where."""

    # name of the metric, where the app reports several or returns them by name; null takes the
    # first of each report
    metric: Any = None
    # dotted key of the app's seed, to which each replicate adds its number; null changes no seed
    seed_key: str | None = None
    # ranges by parameter, in Hydra's sweep grammar, where the command line names none
    params: dict[str, Any] = field(default_factory=dict)
    # module.function, called with the config and Optuna's trial after the ranges are sampled; what
    # it samples with `trial.suggest_float` and the like becomes parameters of the trial
    custom_search_space: str | None = None

    NODE = "hydra.sweeper"


@dataclass
class SecretsConfig:
    """What is hidden beyond what explr knows as a secret by itself, and what is not."""

    # further keys whose values are secrets, dotted or not
    secret_names: list[str] = field(default_factory=list)
    # keys whose values are no secrets, whatever they are called
    harmless_names: list[str] = field(default_factory=list)


@dataclass
class TrackingConfig(SecretsConfig):
    """Where runs are recorded."""

    # mlflow or off
    backend: str = MISSING


@dataclass
class MirrorConfig(SecretsConfig):
    """How runs reach MLflow."""

    # MLflow tracking URI; null uses the local store in EXPLR_HOME
    uri: str | None = None
    # start an MLflow server for the local store
    autostart: bool = True
    # port of that server; if it is taken, another one is used
    port: int = 5000
    # that server asks for a password, which explr makes, from now on; see `explr mlflow-ui`
    protect: bool = False
    # seconds that a command waits at its end for uploads to MLflow
    drain_timeout_s: float = 10.0
    # record load and memory of the machine and its GPUs during a run
    system_metrics: bool = True
    # seconds between two of these measurements
    system_metrics_interval_s: float = 10.0
    # registers the best model of the run or sweep under this name; null registers none
    register: str | None = None


@dataclass
class CallbackConfig(MirrorConfig):
    """What the callback takes that records the runs of any Hydra app."""

    # files and folders that the app reads, as `data.paths` of explr's own trainings has them
    data: Any = None


@dataclass
class MLflowConfig(MirrorConfig, TrackingConfig):
    """Runs are recorded in MLflow."""


@dataclass
class GpuConfig:
    """The device, and how much of its memory trainings may use."""

    # auto, cpu, cuda, or cuda:N
    device: str = "auto"
    # GPU memory in GiB for all running trials together, on each GPU; 0 sets no limit; null takes
    # EXPLR_GPU_MEMORY_GB, else your own default, else 24 (90 % of that GPU if it is less)
    memory_limit_gb: float | None = None
    # GPUs of each trial of a sweep; null takes one, or one for each process of its training
    per_trial: int | None = None


@dataclass
class DataConfig:
    """The data that a training reads."""

    # files and folders whose content is recorded with each run, as a hash: a path, or a list of
    # them; of a .dvc file or a dvc.lock, the hashes that it has of its data; null records none
    paths: Any = None  # checked by explr: a path may stand alone

    @property
    def listed(self) -> list[str]:
        """The paths, as they were given."""
        given = self.paths or []
        return [given] if isinstance(given, str) else list(given)


SCHEMAS: dict[str, type] = {
    "objective": ObjectiveConfig,
    "data": DataConfig,
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
        "data",
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
"""Keys of the root that explr defines; every other key there is a hyperparameter."""


@dataclass(frozen=True)
class ExplrConfig:
    """A composed configuration, checked and typed.

    Args:
        experiment_name: name of the MLflow experiment; None until it is named after the project.
        seed: seed of every random generator; None gives each training numbers of its own.
        train_model: the training function: a path to it, or a mapping with `_target_`.
        objective: what a tuner optimizes.
        framework: the framework and its set-up.
        tuner: what chooses the hyperparameters of a sweep.
        tracking: where the run is recorded.
        gpu: device and memory.
        data: what the training reads.
        search_space: range of each hyperparameter, in Hydra's sweep grammar.
        hyperparameters: every key of the root that explr does not define.
    """

    experiment_name: str | None
    seed: int | None
    train_model: str | dict[str, Any]
    objective: ObjectiveConfig
    framework: FrameworkConfig
    tuner: TunerConfig
    tracking: TrackingConfig
    gpu: GpuConfig
    data: DataConfig
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
            "experiment_name": checked(node, "experiment_name", name_fault, faults),
            "seed": checked(node, "seed", seed_fault, faults),
            "train_model": checked(node, "train_model", target_fault, faults),
            "search_space": checked(node, "search_space", ranges_fault, faults) or {},
        }
        for key, schema in _groups(node).items():
            values[key] = typed(node, key, schema, faults)
        values["data"] = typed(node, "data", DataConfig, faults) if "data" in node else DataConfig()
        if values["data"] is not None:
            faults += paths_faults(values["data"].paths)
        values["hyperparameters"] = {
            str(key): plain(node, str(key), faults) for key in node if key not in ROOT_KEYS
        }
        faults += number_faults(values)
        if values["objective"] is not None:
            objective = values["objective"]
            try:
                wrong = objective_faults(objective.metrics, objective.directions)
            except ConfigError as error:
                wrong = error.faults
            if not wrong:
                objective.direction = objective.settled
            faults += wrong
            faults += reported_faults(objective.reported)
            faults += constraint_faults(objective.constraints, objective.NODE)
        if values["gpu"] is not None:
            faults += device_faults(values["gpu"].device)
        if faults:
            raise ConfigError(faults)
        if values["experiment_name"] is not None:
            values["experiment_name"] = str(values["experiment_name"])
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
