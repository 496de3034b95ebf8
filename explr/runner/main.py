"""The Hydra application: what `explr` and a user's own script run."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from explr.core.errors import TrialPruned
from explr.core.protocols import TrainFunction
from explr.core.target import check_train_function, spell_target
from explr.plugins.search_path import CONFIG_TREE
from explr.runner.app import CONFIG_NAME, TRUSTED
from explr.runner.experiment import Outcome, run_training
from explr.runner.faults import INTERRUPTED, report_fault
from explr.tracking.callback import OWN_TASK
from explr.tracking.session import closing_line

log = logging.getLogger("explr")

SCRIPT_SPACE = "script"
"""Search space that carries the hyperparameters given to `main`."""


class Terminated(KeyboardInterrupt):
    """SIGTERM came; treated as Ctrl-C is."""


def main(
    train_model: TrainFunction,
    *overrides: str,
    hyperparameters: Mapping[str, Any] | None = None,
) -> NoReturn:
    """Turn a script into the full command line: `python my_script.py lr=0.01`.

    Args:
        train_model: the script's training function, at the top level of its module.
        overrides: settings in Hydra's grammar; those on the command line win over them.
        hyperparameters: names and defaults of the script's own hyperparameters, in place of
            those of the default search space.

    Raises:
        SystemExit: always: 0 done, 1 failed, 2 wrong usage or configuration, 130 interrupted.
    """
    given = list(overrides)
    try:
        check_train_function(train_model, getattr(train_model, "__qualname__", repr(train_model)))
        given.append(f"train_model='{spell_target(train_model)}'")
    except Exception as error:  # noqa: BLE001 - reported, with its exit code
        sys.exit(report_fault(error))
    if hyperparameters is not None:
        ConfigStore.instance().store(
            SCRIPT_SPACE, dict(hyperparameters), group="search_space", package="_global_"
        )
        given.append(f"search_space={SCRIPT_SPACE}")
    sys.exit(run_command_line([*given, *sys.argv[1:]]))


def run_command_line(arguments: Sequence[str]) -> int:
    """Run Hydra's command line over explr's config tree.

    Args:
        arguments: overrides and Hydra's own flags.

    Returns:
        The exit code.
    """
    _make_importable(Path.cwd())
    sys.argv[1:] = arguments
    app = hydra.main(config_path=CONFIG_TREE, config_name=CONFIG_NAME, execution_whitelist=TRUSTED)(
        train_job
    )
    try:
        with _interruptible(), _errors_passed_on():
            app()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - reported, with its exit code
        from explr.runner.diagnosis import diagnose

        return report_fault(diagnose(error, arguments))
    return 0


def train_job(cfg: DictConfig) -> float | None:
    """Hydra's task: one training.

    Returns:
        The value of the objective; None if a single run pruned itself.

    Raises:
        SystemExit: a single run failed; what went wrong has been printed.
    """
    job = HydraConfig.get()
    folder = Path(job.runtime.output_dir)
    single = job.mode is RunMode.RUN
    if single and cfg.tuner.name != "none":
        log.info("tuner=%s tunes with -m; without it this trains once", cfg.tuner.name)
    try:
        outcome = run_training(
            cfg,
            folder,
            number=0 if single else job.job.num,
            first_files=(folder / job.output_subdir,) if job.output_subdir else (),
            last_files=(folder / f"{job.job.name}.log",),
        )
    except Exception as error:
        if single:  # Hydra would add lines of its own
            raise SystemExit(report_fault(error)) from None
        raise
    if single:
        _tell(outcome)
    if outcome.result is not None:
        return outcome.result.primary_metric
    if single:
        return None
    raise TrialPruned("the training pruned itself")


# Hydra's callback leaves the recording to the training itself.
setattr(train_job, OWN_TASK, True)


def _tell(outcome: Outcome) -> None:
    """Say what came out and where it is."""
    if outcome.result is not None:
        best = outcome.result
        epochs = f" after {best.epochs_completed} epochs" if best.epochs_completed else ""
        others = "".join(f"  {n} {v:.6g}" for n, v in best.metrics.items())
        print(
            f"Result: {best.primary_metric_name} {best.primary_metric:.6g}{others}"
            f"{epochs} in {outcome.duration_s:.1f} s"
        )
        if best.best_model_path:
            print(f"Model:  {_relative(Path(best.best_model_path))}")
    else:
        print(f"Pruned after {outcome.duration_s:.1f} s")
    print(f"Folder: {_relative(outcome.folder)}")
    if outcome.tracked is not None:
        print(closing_line(outcome.tracked))


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _make_importable(folder: Path) -> None:
    """Let `train_model=my_module:function` find a module of the working directory."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


@contextmanager
def _errors_passed_on() -> Iterator[None]:
    """Have Hydra raise what goes wrong rather than print it, whatever the user chose to see."""
    chosen = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        if chosen is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = chosen


@contextmanager
def _interruptible() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C."""

    def terminate(signum: int, frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
