"""Composing and sweeping from Python: what a notebook uses in place of the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hydra._internal.execution_policy import execution_whitelist
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from explr.core.errors import TrialPruned
from explr.core.protocols import TrainFunction
from explr.runner.app import CONFIG_NAME, TRUSTED, compose_with, hydra_app
from explr.runner.diagnosis import diagnose
from explr.runner.experiment import run_training
from explr.runner.files import read_result_file
from explr.tracking.callback import OWN_TASK


@dataclass(frozen=True)
class SweepResult:
    """What came out of a sweep.

    Args:
        folder: folder of the sweep.
        trials: for each trial `number`, `state`, `params`, `value`, `duration_s`, `dir`, `reason`.
        best: the best of those that completed; None if none did.
    """

    folder: Path
    trials: list[dict[str, Any]]
    best: dict[str, Any] | None


def compose(overrides: Sequence[str] = ()) -> DictConfig:
    """Compose a config as the command line does.

    Args:
        overrides: settings in Hydra's grammar, such as `["framework=tensorflow", "lr=0.01"]`.

    Returns:
        The config, without Hydra's own part.

    Raises:
        ConfigError: an override cannot be applied; names every one that cannot.
    """
    try:
        with hydra_app() as app:
            cfg = compose_with(app, overrides, None, multirun=False)
            with open_dict(cfg):
                del cfg["hydra"]
            return cfg
    except (HydraException, OmegaConfBaseException) as error:
        raise diagnose(error, overrides) from None


def tune(
    overrides: Sequence[str],
    train_model: TrainFunction | None = None,
    n_trials: int | None = None,
) -> SweepResult:
    """Sweep from Python, like `explr -m` on the command line.

    Args:
        overrides: settings and ranges in Hydra's grammar, such as `["lr=interval(1e-5,1e-2)"]`;
            `tuner=optuna` is added unless a tuner is named.
        train_model: a function to use in place of the one that the config names.
        n_trials: number of trials, in place of the one that the config names.

    Raises:
        ConfigError: an override cannot be applied; names every one that cannot.
        Exception: whatever ended the sweep.
    """
    given = [*overrides]
    if not any(override.startswith("tuner=") for override in given):
        given.insert(0, "tuner=optuna")
    if n_trials is not None:
        given.append(f"tuner.n_trials={n_trials}")
    seen: list[Path] = []
    job = partial(_trial, train_model=train_model, seen=seen)
    setattr(job, OWN_TASK, True)
    with execution_whitelist(TRUSTED), hydra_app() as app:
        try:
            compose_with(app, given, None, multirun=True)
        except (HydraException, OmegaConfBaseException) as error:
            raise diagnose(error, [*given, "-m"]) from None
        app.multirun(
            CONFIG_NAME, job, [*given, "hydra.mode=MULTIRUN"], with_log_configuration=False
        )
    return _collect(seen)


def _trial(cfg: DictConfig, train_model: TrainFunction | None, seen: list[Path]) -> float:
    job = HydraConfig.get()
    folder = Path(job.runtime.output_dir)
    seen.append(folder)
    outcome = run_training(
        cfg,
        folder,
        train_model=train_model,
        number=job.job.num,
        first_files=(folder / job.output_subdir,) if job.output_subdir else (),
    )
    if outcome.result is None:
        raise TrialPruned("the training pruned itself")
    return outcome.result.primary_metric


def _collect(folders: list[Path]) -> SweepResult:
    trials: list[dict[str, Any]] = []
    minimize = True
    for folder in folders:
        content = read_result_file(folder)
        if content is None:
            continue
        if content["result"]:
            minimize = content["result"]["minimize"]
        keys = ("number", "state", "params", "value", "duration_s", "reason")
        trials.append({key: content[key] for key in keys} | {"dir": str(folder)})
    complete = [trial for trial in trials if trial["state"] == "COMPLETE"]
    sign = 1 if minimize else -1
    best = min(complete, key=lambda trial: sign * trial["value"], default=None)
    return SweepResult(folders[0].parent if folders else Path(), trials, best)
