"""Tells Hydra of explr's config groups, in every Hydra app of the environment."""

from __future__ import annotations

from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.plugins.search_path_plugin import SearchPathPlugin

from explr.core.config import SCHEMAS

CONFIG_TREE = "pkg://explr.conf"
"""Where Hydra finds the packaged config tree."""

# Untyped nodes: Hydra cannot put an interpolation where a structured node stands.
CALLBACK = {
    "explr_mlflow": {
        "_target_": "explr.tracking.callback.MLflowCallback",
        "experiment_name": "${hydra.job.name}",
        "uri": "${oc.env:MLFLOW_TRACKING_URI,null}",
        "autostart": True,
        "port": 5000,
        "drain_timeout_s": 10.0,
        "system_metrics": True,
        "system_metrics_interval_s": 10.0,
        "register": None,
    }
}
SWEEPER = {
    "_target_": "explr.plugins.optuna_sweeper.OptunaSweeper",
    "n_trials": 20,
    "n_jobs": 1,
    "memory_gb": None,
    "timeout_s": None,
    "trial_timeout_s": None,
    "retries": 2,
    "replicates": 1,
    "max_failure_rate": 1.0,
    "study_name": None,
    "storage": None,
    "direction": "minimize",
    "enqueue": [],
    "sampler": {"_target_": "optuna.samplers.TPESampler"},
    "pruner": {"_target_": "explr.tuning.percentile.MedianPruner"},
    "params": None,
}
RAY_SWEEPER = SWEEPER | {
    "_target_": "explr.plugins.ray_sweeper.RaySweeper",
    "ray": {
        "address": None,
        "cpus_per_trial": 1.0,
        "gpus_per_trial": None,
        "runtime_env": {},
        "init": {},
    },
}
LAUNCHER = {
    "_target_": "explr.plugins.local_launcher.LocalLauncher",
    "n_jobs": 1,
    "preload": [],
}


class ExplrSearchPath(SearchPathPlugin):
    """Brings an explr app its schemas, and the options of a project's own `conf` folder.

    A project's options stand behind the packaged ones: it adds some and replaces none.
    """

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Do so if this is an explr app; other apps keep their groups as they are."""
        if all(element.path != CONFIG_TREE for element in search_path.get_path()):
            return
        store = ConfigStore.instance()
        for name, schema in SCHEMAS.items():
            store.store(
                group="explr/schema", name=name, node=schema, provider="explr", replace=True
            )
        project = Path.cwd() / "conf"
        if project.is_dir():
            search_path.append("explr-project", project.as_uri())


ConfigStore.instance().store(
    group="hydra/callbacks", name="explr_mlflow", node=CALLBACK, provider="explr", replace=True
)
ConfigStore.instance().store(
    group="hydra/sweeper", name="explr_optuna", node=SWEEPER, provider="explr", replace=True
)
ConfigStore.instance().store(
    group="hydra/sweeper", name="explr_ray", node=RAY_SWEEPER, provider="explr", replace=True
)
ConfigStore.instance().store(
    group="hydra/launcher", name="explr_local", node=LAUNCHER, provider="explr", replace=True
)
