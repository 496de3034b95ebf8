"""What can be wrong with a value of the configuration, each fault as a sentence."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from explr.core.errors import ConfigError
from explr.core.secrets.masking import redacted_text

MAX_SEED = 2**32 - 1
"""The largest seed that numpy accepts."""

MAX_PORT = 65535
"""The largest TCP port."""

LEAST: Mapping[str, float] = {
    "gpu.memory_limit_gb": 0,
    "gpu.per_trial": 1,
    "framework.threads": 1,
    "framework.keep_checkpoints": 2,
    "framework.max_checkpoints_gb": 0,
    "framework.processes": 1,
    "framework.collective_timeout_s": 1,
    "tuner.n_trials": 1,
    "tuner.timeout_s": 0,
    "tuner.trial_timeout_s": 0,
    "tuner.retries": 0,
    "tuner.replicates": 1,
    "tuner.confirm": 0,
    "tuner.stop_when": 0,
    "tuner.max_failure_rate": 0,
    "tracking.port": 1,
    "tracking.drain_timeout_s": 0,
    "tracking.system_metrics_interval_s": 0.1,
}
"""The smallest value of each number that has one."""

AUTO = "auto"
"""Number of trials at the same time that is to be found out."""

T = TypeVar("T")

FaultOf = Callable[[Any], str | None]
"""Says what is wrong with a value, or None."""


def plain(node: DictConfig, key: str, faults: list[str]) -> Any:
    """Value of `key` in plain Python, interpolations resolved; a fault is added to `faults`."""
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


def checked(node: DictConfig, key: str, fault_of: FaultOf, faults: list[str]) -> Any:
    """Value of `key`, which `fault_of` may find a fault in."""
    before = len(faults)
    value = plain(node, key, faults)
    if len(faults) == before and (fault := fault_of(value)) is not None:
        faults.append(fault)
    return value


def typed(node: DictConfig, key: str, schema: type, faults: list[str]) -> Any:
    """The group `key` as an object of the dataclass `schema`; None if it is at fault."""
    group = OmegaConf.select(node, key)
    if not isinstance(group, DictConfig):
        faults.append(f"{key} must be a mapping with the keys of {schema.__name__}")
        return None
    with _noted(key, schema, faults):
        known_keys = {each.name for each in fields(schema)}
        if OmegaConf.get_type(group) is schema and set(group) <= known_keys:
            return OmegaConf.to_object(group)  # as the config tree composes it: the quick way
        values = OmegaConf.to_container(group, resolve=True)  # while the root is still above it
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), values))
    return None


def settings_of(schema: type[T], given: Mapping[str, Any], key: str) -> T:
    """The settings of a plugin as an object of the dataclass `schema`.

    Args:
        schema: the dataclass; its defaults count for what is not given.
        given: plain values by name; null empties a list or a mapping.
        key: the node of the config that they stand in.

    Raises:
        ConfigError: a setting does not exist or has another type; names each that does so.
    """
    made = {each.name for each in fields(schema) if each.default_factory is not MISSING}  # type: ignore[arg-type]
    node = OmegaConf.structured(schema)
    faults: list[str] = []
    for name, value in given.items():
        if value is not None or name not in made:
            with _noted(key, schema, faults):
                OmegaConf.update(node, name, value, merge=False)  # also an int for a float
    if faults:
        raise ConfigError(faults)
    # Unresolved: what looks like an interpolation now was escaped in the config.
    values = OmegaConf.to_container(node, resolve=False)
    assert isinstance(values, dict)
    return schema(**{str(name): value for name, value in values.items()})


@contextmanager
def _noted(key: str, schema: type, faults: list[str]) -> Iterator[None]:
    """Add OmegaConf's complaint of a value in the node `key` to `faults`."""
    try:
        yield
    except (ConfigAttributeError, ConfigKeyError) as error:
        known = ", ".join(f"{key}.{each.name}" for each in fields(schema))
        faults.append(f"there is no setting {key}.{error.full_key}; there are {known}")
    except OmegaConfBaseException as error:
        full_key = getattr(error, "full_key", None)
        faults.append(f"{f'{key}.{full_key}' if full_key else key}: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def name_fault(value: Any) -> str | None:
    """What is wrong with the name of an experiment."""
    if (
        value is None
        or (isinstance(value, str) and value.strip())
        or (
            isinstance(value, (int, float)) and not isinstance(value, bool)  # experiment_name=2024
        )
    ):
        return None
    return f"experiment_name must be a text that is not empty, got {value!r}"


def ranges_fault(value: Any) -> str | None:
    """What is wrong with a search space."""
    if isinstance(value, dict):
        fixed = [k for k, v in value.items() if k == "search_space" or isinstance(v, (int, float))]
        if not fixed:
            return None
        return (
            f"search_space.{fixed[0]} is no range: a file in search_space/ begins with the line "
            "`# @package _global_`, and has values at its root and ranges below `search_space:`"
        )
    if value is None:
        return None
    return f"search_space must hold ranges by hyperparameter, got {value!r}"


def seed_fault(value: Any) -> str | None:
    """What is wrong with a seed."""
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_SEED:
        return None
    return f"seed must be an integer from 0 to {MAX_SEED}, or null, got {value!r}"


def target_fault(value: Any) -> str | None:
    """What is wrong with the way that a training function is named."""
    if isinstance(value, str) and value:
        return None
    if isinstance(value, dict) and isinstance(value.get("_target_"), str):
        return None
    return (
        "train_model must be module:function, module.function, path/to/file.py:function, "
        f"or a mapping with _target_, got {value!r}"
    )


def device_faults(device: str) -> list[str]:
    """Whether a device is spelled as PyTorch does."""
    if re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        return []
    return [f"gpu.device must be auto, cpu, cuda or cuda:N, got {device!r}"]


def paths_faults(paths: Any) -> list[str]:
    """What is wrong with the paths of data.

    Args:
        paths: a path, a list of them, or None.
    """
    each = [] if paths is None else paths if isinstance(paths, list) else [paths]
    faults = [
        f"data.paths is a path or a list of paths, got {redacted_text(repr(path))}"
        for path in each
        if not isinstance(path, str) or not path.strip()
    ]
    faults += [
        f"data.paths names {redacted_text(path)}: only files and folders of this machine are "
        "hashed; a .dvc file can stand for data elsewhere"
        for path in each
        if isinstance(path, str) and "://" in path
    ]
    twice = dict.fromkeys(str(path) for path in each if each.count(path) > 1)
    return faults + [f"data.paths names {path} {each.count(path)} times" for path in twice]


DIRECTIONS = ("minimize", "maximize")
"""What can be done with an objective."""

MAXIMIZED = """
acc accuracy ap auc auprc auroc average_precision bleu chrf cider correlation dice elbo f1 f1score
fbeta hits iou jaccard kappa likelihood log_likelihood map mcc meteor miou mrr ndcg pearson
precision psnr r2 r_squared recall return returns rew reward rewards rouge sensitivity sharpe
spearman specificity ssim success tnr tpr win_rate
""".split()  # noqa: SIM905 - words are read more easily so
"""Words in the names of metrics of which more is better."""

MINIMIZED = """
bce bits_per_byte bits_per_dim bpb bpc bpd brier cer chamfer cost cross_entropy crossentropy
deviance ece eer err error errors fid fnr fpr hausdorff kid kl latency log_loss logloss loss losses
lpips mae mape mse msle negative_log_likelihood nll perplexity ppl regret rmse rmsle smape wer xent
""".split()  # noqa: SIM905 - words are read more easily so
"""Words in the names of metrics of which less is better."""

LOSSES = {"err", "error", "errors", "loss", "losses", "negative_log_likelihood"}
"""Those that decide beside words of the other list: the loss of a reward is minimized."""

UNCLEAR = """
1 delta diff difference drop gap inverse minus neg negative one std stddev var variance
""".split()  # noqa: SIM905 - words are read more easily so
"""Words beside which the others say nothing: accuracy_drop, 1-accuracy, loss_std."""


def known_direction(metric: str) -> str | None:
    """The direction that follows from the name of a metric; None if none does.

    Args:
        metric: the name. Signs and capitals part its words, and digits at their ends do not count.
    """
    whole = re.findall("[a-z0-9]+", metric.lower())
    parts = re.findall("[a-z0-9]+", re.sub("(?<=[a-z0-9])(?=[A-Z])", "_", metric).lower())
    text = "_".join(["", *whole, "", *parts, ""])
    text += re.sub("(?<=[a-z])[0-9]+(?=_)", "", text)
    more, less, unclear = (
        {word for word in words if f"_{word}_" in text} for words in (MAXIMIZED, MINIMIZED, UNCLEAR)
    )
    if whole[:1] == ["neg"] and less and not more:  # a score of scikit-learn's
        return "maximize"
    if "negative_log_likelihood" not in less and unclear - ({"1", "one"} - {*whole[:1]}):
        return None
    if less & LOSSES:
        return "minimize"
    return None if bool(more) == bool(less) else "maximize" if more else "minimize"


def directions_of(metrics: Sequence[Any], given: Any, node: str) -> list[str]:
    """The direction of each objective.

    Args:
        metrics: name of each; None for one without a name, which is minimized.
        given: a direction, or a list of them; None takes what follows from the metric's name.
        node: the node that both are set in, for messages.

    Raises:
        ConfigError: none follows from the name of a metric.
    """
    if given is not None:
        each = given if isinstance(given, (list, tuple)) else [given]
        return [str(getattr(way, "name", way)) for way in each]  # an app may have an Enum
    found = [
        known_direction(name) if isinstance(name, str) and name.strip() else DIRECTIONS[0]
        for name in metrics
    ]
    if unclear := [name for name, way in zip(metrics, found, strict=True) if way is None]:
        write = f"{node}.direction=minimize or {node}.direction=maximize"
        if len(metrics) > 1:
            write = f"{node}.direction=[…] with minimize or maximize for each metric"
        raise ConfigError(
            [
                f"{node}.metric={','.join(unclear)}: the name does not tell whether less or more "
                f"of it is better: write {write}"
            ]
        )
    return list(map(str, found))


def objective_faults(metrics: Sequence[Any], directions: Sequence[Any]) -> list[str]:
    """What is wrong with the objectives.

    Args:
        metrics: name of each.
        directions: direction of each.
    """
    faults = [
        f"objective.direction must be minimize or maximize, got {direction!r}"
        for direction in directions
        if direction not in DIRECTIONS
    ]
    if not metrics or not all(isinstance(name, str) and name.strip() for name in metrics):
        return [*faults, f"objective.metric must name a metric, got {list(metrics)}"]
    faults += [
        f"objective.metric names {name} {metrics.count(name)} times"
        for name in dict.fromkeys(metrics)
        if metrics.count(name) > 1
    ]
    if len(metrics) != len(directions):
        faults.append(
            f"objective.direction needs one direction for each metric: there are {len(metrics)} "
            f"metrics ({', '.join(metrics)}) and {len(directions)} directions"
        )
    return faults


REPORTED = ("last", "best")
"""Which of its reported values may stand for a training that returns none."""


def reported_faults(reported: str, key: str = "objective") -> list[str]:
    """What is wrong with the choice of a reported value.

    Args:
        reported: the choice.
        key: the node that it is set in.
    """
    if reported in REPORTED:
        return []
    return [f"{key}.reported must be last or best, got {reported!r}"]


def slots_faults(
    n_jobs: Any, memory_gb: Any, group: str = "tuner", by_ray: bool = False
) -> list[str]:
    """What is wrong with the number of trials at the same time.

    Args:
        n_jobs: the number, or AUTO.
        memory_gb: GiB of host memory for all of them; None if it is not given.
        group: the node that both are set in.
        by_ray: whether Ray runs the trials.
    """
    if n_jobs == AUTO and by_ray:
        return [
            f"{group}.n_jobs=auto needs Optuna, which measures its trials: with Ray give their "
            f"number, as in {group}.n_jobs=2"
        ]
    if n_jobs != AUTO and (not isinstance(n_jobs, int) or isinstance(n_jobs, bool) or n_jobs < 1):
        return [f"{group}.n_jobs must be a whole number from 1 on, or auto, got {n_jobs!r}"]
    if memory_gb is None:
        return []
    if isinstance(memory_gb, bool) or not isinstance(memory_gb, (int, float)) or not memory_gb > 0:
        return [f"{group}.memory_gb must be a number of GiB above 0, or null, got {memory_gb!r}"]
    if n_jobs != AUTO:
        return [
            f"{group}.memory_gb is what {group}.n_jobs=auto shares out: it has no effect with "
            f"{group}.n_jobs={n_jobs}"
        ]
    return []


def cluster_faults(cpus_per_trial: float | None, gpus_per_trial: float | None) -> list[str]:
    """What is wrong with what each trial takes of a Ray cluster."""
    given = {"cpus": cpus_per_trial or 0.0, "gpus": gpus_per_trial or 0.0}
    return [
        f"tuner.ray.{name}_per_trial={number:g} is negative"
        for name, number in given.items()
        if number < 0
    ]


def number_faults(groups: Mapping[str, Any]) -> list[str]:
    """Faults of numbers that their type alone does not exclude.

    Args:
        groups: the typed groups by name; None for one that is at fault already.
    """
    faults = []
    for path, minimum in LEAST.items():
        group, _, name = path.partition(".")
        value = getattr(groups[group], name, None)
        if value is not None and not value >= minimum:
            faults.append(f"{path} must be at least {minimum}, got {value}")
    tuner = groups["tuner"]
    if hasattr(tuner, "n_jobs"):
        faults += slots_faults(tuner.n_jobs, tuner.memory_gb, by_ray=tuner.name == "ray")
    model = getattr(groups["tracking"], "register", None)
    if model is not None and (not model.strip() or set("/:") & set(model)):
        faults.append(f"tracking.register is the name of a model, without / and :, got {model!r}")
    port = getattr(groups["tracking"], "port", 0)
    if port > MAX_PORT:
        faults.append(f"tracking.port must be at most {MAX_PORT}, got {port}")
    return faults
