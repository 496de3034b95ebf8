"""The nodes that explr puts into Hydra's config store."""

from __future__ import annotations

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
