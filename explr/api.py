"""Composing and sweeping from Python: what a notebook uses in place of the command line."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig, open_dict

from explr.config.compose import CONFIG_NAME, TRUSTED, compose_with, hydra_app
from explr.config.diagnosis import check_types, diagnosing
from explr.config.hydra_versions import trusting
from explr.config.importing import refuse_in_import
from explr.config.settings_file import SCRIPT_SPACE, store_script_space
from explr.config.target import check_train_function
from explr.core.config import ExplrConfig
from explr.core.folders import best_of_grid, common_folder, grid_trials
from explr.core.protocols import TrainFunction
from explr.launching.pool import travel_by_value
from explr.results.tune_result import TuneResult
from explr.runner.grid_tally import gathering
from explr.runner.prepare import prepare
from explr.runner.reporting import apart_from_trial
from explr.runner.task import run_trial
from explr.sweep.logs import callers_logging, shown_logging
from explr.sweep.preflight import check_first_job, check_trial
from explr.tracking.callback import OWN_TASK
from explr.tracking.mlflow.titles import training_given
from explr.utils.console import in_notebook


def compose(
    overrides: Sequence[str] = (), hyperparameters: Mapping[str, Any] | None = None
) -> DictConfig:
    """Compose a config as the command line does.

    Args:
        overrides: settings in Hydra's grammar, such as `["framework=tensorflow", "lr=0.01"]`.
        hyperparameters: defaults by name, or ranges, whose defaults count; see `explr.main`.

    Returns:
        The config, without Hydra's own part.

    Raises:
        ConfigError: an override cannot be applied; names every one that cannot.
    """
    overrides = [*_of_script(hyperparameters), *overrides]
    with diagnosing(overrides, ExplrConfig.from_composed), hydra_app() as app:
        cfg = compose_with(app, overrides, None, multirun=False)
        check_types(app, overrides)
        with open_dict(cfg):
            del cfg["hydra"]
        return cfg


def tune(
    overrides: Sequence[str],
    train_model: TrainFunction | None = None,
    n_trials: int | None = None,
    n_jobs: int | Literal["auto"] | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
) -> TuneResult:
    """Sweep from Python, like `explr -m` on the command line.

    Args:
        overrides: settings and ranges in Hydra's grammar, such as `["lr=interval(1e-5,1e-2)"]`;
            `tuner=optuna` is added unless a tuner is named.
        train_model: a function to use in place of the one that the config names.
        n_trials: number of trials, in place of the one that the config names.
        n_jobs: trials at the same time, likewise; `"auto"` runs as many as fit into memory.
        hyperparameters: defaults by name, and the ranges to search, as in `{"lr":
            explr.interval(1e-4, 1e-1, log=True)}`; see `explr.main`.

    Returns:
        Every trial that ended; one that failed is told on standard error, and does not end
        the sweep.

    Raises:
        UsageError: an override cannot be applied, the first trial could not start, or there is
            nothing to search; names every fault.
        Exception: what the first trial raised, if every trial failed.
    """
    refuse_in_import("explr.tune")
    if in_notebook():  # Optuna brings tqdm, which would like ipywidgets
        warnings.filterwarnings("ignore", message="IProgress not found")
    given = [*_of_script(hyperparameters), *overrides]
    if not any(override.startswith("tuner=") for override in given):
        given.insert(0, "tuner=optuna")
    if n_trials is not None:
        given.append(f"tuner.n_trials={n_trials}")
    if n_jobs is not None:
        given.append(f"tuner.n_jobs={n_jobs}")
    if train_model is not None:
        name = getattr(train_model, "__qualname__", repr(train_model))
        travel_by_value(check_train_function(train_model, name))
    job = partial(run_trial, train_model=train_model)
    setattr(job, OWN_TASK, True)
    check = partial(prepare, train_model=train_model)
    diagnosed = diagnosing(
        [*given, "-m"], partial(check_trial, check=check, train_model=train_model)
    )
    module = None if train_model is None else f"{train_model.__module__}:function"
    named = training_given(module)
    with callers_logging(), apart_from_trial(), trusting(TRUSTED), named, diagnosed:
        tuned = check_first_job(given, check, train_model=train_model)
        with hydra_app() as app:
            sweep = partial(
                app.multirun,
                CONFIG_NAME,
                job,
                [*given, "hydra.mode=MULTIRUN"],
                with_log_configuration=False,
            )
            if tuned:
                with shown_logging():
                    result = sweep()
                assert isinstance(result, TuneResult)
                return result
            with gathering() as trials:
                sweep()
    if trials.failures and len(trials.failures) == len(trials.folders):
        raise trials.failures[0][1]
    return _grid_result(trials.folders)


def _of_script(hyperparameters: Mapping[str, Any] | None) -> list[str]:
    """What chooses hyperparameters that are given in Python."""
    if hyperparameters is None:
        return []
    store_script_space(hyperparameters)
    return [SCRIPT_SPACE]


GRID_ROW = ("number", "state", "params", "value", "duration_s", "reason", "dir")
"""What is told of each trial of a grid."""


def _grid_result(folders: Sequence[Path]) -> TuneResult:
    trials = grid_trials(folders)
    rows = [{key: trial[key] for key in GRID_ROW} for trial in trials]
    best = best_of_grid(trials)
    folder = common_folder(folders) if folders else Path()
    return TuneResult(folder, rows, None if best is None else rows[trials.index(best)])
