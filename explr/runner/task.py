"""Hydra's task function: one training, alone or as a trial of a sweep."""

from __future__ import annotations

import logging
import math
import os
import re
import shlex
import sys
from contextlib import nullcontext, suppress
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from explr.config.messages import report_fault
from explr.config.nodes import overrides_of
from explr.config.saved import hide_secrets, saved_files, take_names_of
from explr.core.checkpoint import CHECKPOINTS
from explr.core.config import ExplrConfig
from explr.core.errors import TrialPruned, UsageError
from explr.core.protocols import TrainFunction
from explr.core.secrets.masking import redacted_text
from explr.results.single import note_command, takes_up
from explr.runner.experiment import FinishedTraining, run_training
from explr.runner.grid_tally import gathered
from explr.runner.live import watching_training
from explr.runner.reporting import in_controller
from explr.tracking.callback import OWN_TASK
from explr.tracking.run import closing_line
from explr.tracking.sweeps import current
from explr.tuning.channel import CHANNEL_VARIABLE
from explr.utils.console import Verbosity, in_notebook, is_terminal, verbosity

log = logging.getLogger("explr")


def train_job(cfg: DictConfig) -> float | tuple[float, ...] | None:
    """Train once, as a single run or as a trial, depending on Hydra's mode.

    Args:
        cfg: the composed config, without Hydra's own part.

    Returns:
        The value of the objective, or of each of several; None if a single run pruned itself.

    Raises:
        SystemExit: a single run failed; the error has been printed.
    """
    if HydraConfig.get().mode is not RunMode.RUN:
        return run_trial(cfg)
    if cfg.tuner.name != "none":
        log.info("tuner=%s tunes with -m; without it this trains once", cfg.tuner.name)
    try:
        resumes = takes_up(_folder())
        take_names_of(cfg)
        note_command(_folder(), resumes)
        with watching_training(cfg):
            finished = _train(cfg, 0, None, resumes=resumes)
    except KeyboardInterrupt:
        if (_folder() / CHECKPOINTS).exists():
            again = shlex.join(["explr", "resume", str(relative(_folder()))])
            print(f"to resume from the last checkpoint: {again}", file=sys.stderr)
        raise
    except Exception as error:  # noqa: BLE001 - reported, with its exit code
        raise SystemExit(report_fault(error)) from None  # without Hydra's own lines
    _tell(finished)
    return finished.values[0] if finished.result else None


# Tells explr's Hydra callback that the training records itself.
setattr(train_job, OWN_TASK, True)


def run_trial(
    cfg: DictConfig, train_model: TrainFunction | None = None
) -> float | tuple[float, ...]:
    """Train once as a trial of a sweep.

    Args:
        cfg: the composed config, without Hydra's own part.
        train_model: a function to use in place of the one that the config names.

    Returns:
        The value of the objective, or of each of several, and of each metric that has a constraint;
        NaN if there is none and the sweep runs in this process.

    Raises:
        TrialPruned, Exception: there is no value, and the sweep's controller is another process.
    """
    number = HydraConfig.get().job.num
    trials = gathered()
    if trials is not None:
        if not trials.folders and not in_controller():
            _tell_direction(cfg)  # a tuner has told it
        trials.folders.append(_folder())
    try:
        in_cell = trials is not None and in_notebook()
        with watching_training(cfg) if in_cell else nullcontext():
            finished = _train(cfg, number, train_model, is_trial=True)
    except Exception as error:
        if trials is None:
            raise
        trials.fail(number, error)
        return math.nan
    if finished.result is None:
        if trials is None:
            raise TrialPruned(finished.reason)
        trials.pruned += 1
        _tell_trial(f"Pruned after {finished.duration_s:.1f} s{_searched(number)}")
        return math.nan
    if trials is not None:
        trials.complete += 1
    _tell_trial(f"{_result_line(finished)}{_searched(number)}")
    values = finished.values + finished.measured
    return values if len(values) > 1 else finished.result.primary_metric


def _tell_direction(cfg: DictConfig) -> None:
    """Log the direction of a grid if it follows from the name of the metric."""
    with suppress(UsageError):  # reported with all other faults
        if inference := ExplrConfig.from_composed(cfg).objective.inference():
            log.info(inference)


def _tell_trial(line: str) -> None:
    """Print the end of a trial, unless another process shows it in this terminal."""
    elsewhere = CHANNEL_VARIABLE in os.environ and not in_controller()
    drawn = elsewhere and is_terminal(sys.stdout)
    if verbosity() is not Verbosity.QUIET and not drawn:
        with suppress(Exception):  # a line costs no result, whatever the training left behind
            from explr.results.table import hanging

            print(hanging(line))


def _searched(number: int) -> str:
    """Which trial of a grid this is: its overrides that are not on the command line as they are.

    Of a tuner's trial, the log of the sweep says it.
    """
    if CHANNEL_VARIABLE in os.environ:
        return ""
    typed = set(map(_bare, sys.argv))
    own = [text for text in HydraConfig.get().overrides.task if _bare(text) not in typed]
    return "  ".join(["", f"trial {number}", *map(redacted_text, own)])


def _bare(text: str) -> str:
    """An override without what Hydra's sweepers write in another way: quotes, escapes, spaces."""
    return re.sub(r"[\\'\" ]", "", text)


def _folder() -> Path:
    return Path(HydraConfig.get().runtime.output_dir)


def _train(
    cfg: DictConfig,
    number: int,
    train_model: TrainFunction | None,
    is_trial: bool = False,
    resumes: bool = False,
) -> FinishedTraining:
    hydra, folder = HydraConfig.get(), _folder()
    if hydra.output_subdir:
        take_names_of(cfg)
        hide_secrets(*saved_files(folder / hydra.output_subdir))
    return run_training(
        _anchored(cfg, Path(hydra.runtime.cwd)) if hydra.job.chdir else cfg,
        folder,
        train_model=train_model,
        number=number,
        is_trial=is_trial,
        resumes=resumes,
        first_files=(folder / hydra.output_subdir,) if hydra.output_subdir else (),
        last_files=(folder / f"{hydra.job.name}.log",),
        overrides=overrides_of(HydraConfig.instance().cfg, "task"),
        sweep=_sweep_folder() if is_trial else None,
    )


def _sweep_folder() -> Path | None:
    """Folder of the sweep of this trial; None if Hydra alone runs it, and nobody records it."""
    if (sweep := current()) is not None:
        return sweep.journal.parent
    has_controller = in_controller() or CHANNEL_VARIABLE in os.environ
    return Path(HydraConfig.get().sweep.dir).absolute() if has_controller else None


def _anchored(cfg: DictConfig, root: Path) -> DictConfig:
    """The config with the absolute path of the training function's file."""
    path, colon, name = str(cfg.train_model).rpartition(":")
    if not colon or not path.endswith(".py"):
        return cfg
    anchored = cfg.copy()
    anchored.train_model = f"{root / path}:{name}"
    return anchored


def _tell(finished: FinishedTraining) -> None:
    """Print the result of a single run and its folder."""
    from explr.results.table import hanging

    if finished.result is None:
        print(f"Pruned after {finished.duration_s:.1f} s")
    else:
        print(hanging(_result_line(finished)))
        if finished.result.best_model_path:
            print(hanging(f"Model:  {relative(Path(finished.result.best_model_path))}"))
    print(hanging(f"Folder: {relative(finished.folder)}"))
    if finished.tracked is not None:
        print(closing_line(finished.tracked))


def _result_line(finished: FinishedTraining) -> str:
    result = finished.result
    assert result is not None
    epochs = f" after {result.epochs_completed} epochs" if result.epochs_completed else ""
    others = "".join(
        f"  {name} {value:.6g}"
        for name, value in result.metrics.items()
        if name != result.primary_metric_name
    )
    return (
        f"Result: {result.primary_metric_name} {result.primary_metric:.6g}{others}"
        f"{epochs} in {finished.duration_s:.1f} s"
    )


def relative(path: Path) -> Path:
    """A path relative to the directory in which the command was started."""
    root = Path(HydraConfig.get().runtime.cwd) if HydraConfig.initialized() else Path.cwd()
    return path.relative_to(root) if path.is_relative_to(root) else path
