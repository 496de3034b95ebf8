"""The nodes that explr puts into Hydra's config store, made from the dataclasses of the config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf, read_write

from explr.config.hydra_versions import plugin
from explr.core.config import (
    CallbackConfig,
    MirrorConfig,
    ObjectiveConfig,
    RayClusterConfig,
    SearchConfig,
    SweeperConfig,
)

CONFIG_TREE = "pkg://explr.conf"
"""Where Hydra finds the packaged config tree."""

SWEEPER_NODE = "hydra.sweeper"
"""Where the settings of a sweeper stand."""

URI = "${oc.env:MLFLOW_TRACKING_URI,null}"
"""Tracking URI, unless a config names one."""


SCHEMA = "explr/schema"
"""The config group of explr's schemas, which only explr's own tree has."""


def is_own_tree(config: DictConfig) -> bool:
    """Whether a config is composed of explr's own tree, so that its keys mean what explr says.

    Another app may have keys of the same names, such as `tuner` and `gpu`: they are its own.

    Args:
        config: the config of a job or a sweep, also one that was saved, with Hydra's part or
            without.
    """
    if "hydra" not in config:  # a file has Hydra's part, and what was composed here has types
        return OmegaConf.get_type(config, "objective") is ObjectiveConfig
    choices = OmegaConf.select(config, "hydra.runtime.choices") or {}
    return any(str(group).startswith(f"{SCHEMA}@") for group in choices)


def overrides_of(config: Any, of: Literal["task", "hydra"]) -> list[str]:
    """The overrides of a config as they were typed; to iterate the node would resolve `${…}`.

    Args:
        config: the config of a job or a sweep; none has no overrides.
        of: those of the app, or those of Hydra.
    """
    listed = OmegaConf.select(config, f"hydra.overrides.{of}")
    return [] if listed is None else OmegaConf.to_container(listed, resolve=False)  # type: ignore[return-value]


def holder_of(config: DictConfig, key: str) -> DictConfig | None:
    """The node that holds a key, which may be missing a value or be an interpolation.

    Args:
        config: where to look.
        key: the key, dotted.

    Returns:
        The node; None if nothing has such a key.
    """
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    return node if isinstance(node, DictConfig) and name in node else None


def _open(values: dict[str, Any]) -> DictConfig:
    """A node to which the command line may add keys without a `+`."""
    return DictConfig(values, flags={"struct": False})


def _scalars_first(values: dict[str, Any]) -> dict[str, Any]:
    return dict(sorted(values.items(), key=lambda item: isinstance(item[1], (dict, list))))


def _taken_from(group: str, settings: type) -> dict[str, str]:
    """Settings of a plugin that are set in a group of explr's own tree."""
    return {each.name: f"${{{group}.{each.name}}}" for each in fields(settings)}


# Untyped nodes: Hydra cannot put an interpolation where a structured node stands.
CALLBACK = {
    "explr_mlflow": {
        "_target_": "explr.tracking.callback.MLflowCallback",
        "experiment_name": "${hydra.job.name}",
        **asdict(CallbackConfig()),
        "uri": URI,
    }
}
SWEEPER = {
    **plugin("optuna_sweeper", "OptunaSweeper"),
    **_scalars_first(asdict(SweeperConfig())),
    "sampler": _open({"_target_": "optuna.samplers.TPESampler"}),
    "pruner": _open({"_target_": "explr.tuning.percentile.MedianPruner"}),
    "params": None,
    "defaults": ["_self_", {"sampler": None}],
}
RAY_SWEEPER = SWEEPER | {
    **plugin("ray_sweeper", "RaySweeper"),
    "ray": asdict(RayClusterConfig()),
}
LAUNCHER = {
    **plugin("local_launcher", "LocalLauncher"),
    "n_jobs": 1,
    "preload": [],
}

OWN = {
    "hydra/sweeper": {"explr_optuna": SWEEPER, "explr_ray": RAY_SWEEPER},
    "hydra/launcher": {"explr_local": LAUNCHER},
}
"""The options that explr adds to Hydra's groups, each of which is a class of explr's."""

FOREIGN = "hydra_plugins.hydra_"
"""How the names of the classes begin that lie in the plugins which Hydra's repository has."""


def own_target(config: DictConfig, group: str) -> str | None:
    """The class of an option of explr's, if the app's config names one of another plugin there.

    An app that was written for another plugin may name that one's class beside its settings.

    Args:
        config: the composed config of a sweep.
        group: a key of `OWN`.
    """
    own = OWN[group].get(str(config.hydra.runtime.choices.get(group)))
    node = OmegaConf.select(config, group.replace("/", "."))
    if own is None or not str(node.get("_target_")).startswith(FOREIGN):
        return None
    return str(own["_target_"])


@contextmanager
def own_classes(config: DictConfig) -> Iterator[None]:
    """Name explr's own class in each option of explr's, as long as the block runs.

    Hydra 1.4 refuses jobs whose config differs from that of the sweep, so it is put back.

    Args:
        config: the composed config of a sweep.
    """
    changes = {
        f"{group.replace('/', '.')}._target_": target
        for group in OWN
        if (target := own_target(config, group)) is not None
    }
    before = {key: OmegaConf.select(config, key) for key in changes}
    try:
        _update(config, changes)
        yield
    finally:
        _update(config, before)


def _update(config: DictConfig, values: Mapping[str, str]) -> None:
    with read_write(config.hydra):
        for key, value in values.items():
            OmegaConf.update(config, key, value)


# What `hydra/sweeper/sampler` offers with hydra-optuna-sweeper, for apps that used it.
SAMPLERS = {
    "tpe": {"_target_": "optuna.samplers.TPESampler"},
    "random": {"_target_": "optuna.samplers.RandomSampler"},
    "cmaes": {"_target_": "optuna.samplers.CmaEsSampler"},
    "nsgaii": {"_target_": "optuna.samplers.NSGAIISampler"},
    "nsgaiii": {"_target_": "optuna.samplers.NSGAIIISampler"},
    "gp": {"_target_": "optuna.samplers.GPSampler"},
    "qmc": {"_target_": "optuna.samplers.QMCSampler"},
    "grid": {"_target_": "explr.tuning.grid.Grid", "_partial_": True},
    "motpe": {"_target_": "optuna.samplers.MOTPESampler"},
}

DEFAULT_NAME = "${now:%Y-%m-%d/%H-%M-%S-%f}"
"""Name of a study that is given none, and the path of its folder in `multirun`."""

# Of explr's own config tree, in the group `explr`: what its plugins are given.
SEARCH = {
    "tuner": {"study_name": DEFAULT_NAME},
    "hydra": {
        "sweep": {"dir": "multirun/${tuner.study_name}"},
        "sweeper": {
            **_taken_from("tuner", SearchConfig),
            **_taken_from("objective", ObjectiveConfig),
            "params": "${search_space}",
            "seed_key": "seed",
        },
    },
}
MIRROR = {
    "tracking": {"uri": URI},
    "hydra": {
        "callbacks": {
            "explr_mlflow": {
                "experiment_name": "${experiment_name}",
                **_taken_from("tracking", MirrorConfig),
                "data": "${data.paths}",
            }
        }
    },
}
