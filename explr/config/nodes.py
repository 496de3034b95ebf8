"""The nodes that explr puts into Hydra's config store, made from the dataclasses of the config."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from omegaconf import DictConfig, OmegaConf

from explr.config.hydra_versions import plugin
from explr.core.config import (
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
        **asdict(MirrorConfig()),
        "uri": URI,
    }
}
SWEEPER = {
    **plugin("optuna_sweeper", "OptunaSweeper"),
    **_scalars_first(asdict(SweeperConfig())),
    "sampler": {"_target_": "optuna.samplers.TPESampler"},
    "pruner": {"_target_": "explr.tuning.percentile.MedianPruner"},
    "params": None,
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
            }
        }
    },
}
