"""The Hydra callback: `hydra/callbacks=explr_mlflow` records the runs of any Hydra app in MLflow.

A sweep becomes a parent run. In explr's own app each training records itself, and the callback only
passes the sweep on; in any other app the callback records the jobs.

Hydra turns an exception in a callback into a warning, so no job may depend on what happens here.
"""

from __future__ import annotations

import atexit
import logging
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import TaskFunction
from omegaconf import DictConfig, OmegaConf

from explr.config.defaults import untouched_defaults
from explr.config.hydra_private import value_of
from explr.config.nodes import SWEEPER_NODE, is_own_tree, overrides_of
from explr.config.saved import hide_secrets, saved_files
from explr.core.config import CallbackConfig, DataConfig, ObjectiveConfig
from explr.core.errors import ConfigError, ExplrError, is_pruning
from explr.core.folders import BEST_PARAMS, COMMAND, MULTIRUN, REPORT, RESULTS, best_trial
from explr.core.reporter import LISTENERS
from explr.core.secrets.command_line import hide_command_line, take_names
from explr.core.secrets.logs import guard_logs
from explr.core.secrets.masking import remember_arguments
from explr.core.validation import paths_faults, settings_of
from explr.launching.job_record import objective_of, record_job, this_command
from explr.tracking.data.hashes import check_paths
from explr.tracking.data.record import log_data, note_data
from explr.tracking.destination import Destination, working_directory
from explr.tracking.journal.journal import journals_in
from explr.tracking.mlflow.registry import describe
from explr.tracking.mlflow.titles import project_name, run_name, sweep_name, trial_name
from explr.tracking.provenance import constant_tags, provenance_of, provenance_tags
from explr.tracking.run import TrackedRun, closing_line, experiment_of, open_run
from explr.tracking.sweeps import Sweep, has_failed, set_current_sweep

if TYPE_CHECKING:
    from explr.tracking.shipping.sink import Status

log = logging.getLogger(__name__)

OWN_SWEEPERS = ("explr.", "hydra_plugins.explr.")
"""Prefixes of the `_target_` of sweepers that open the sweep's run themselves."""

OWN_TASK = "explr_records_itself"
"""Attribute of a task function that records its own runs."""


class MLflowCallback(Callback):
    """Records Hydra's runs and sweeps in MLflow.

    Args:
        experiment_name: name of the MLflow experiment; None names it after the project.
        settings: fields of `CallbackConfig` in `explr/core/config.py`.

    Raises:
        ConfigError: a setting does not exist or has another type.
        UsageError: there is no data at a path.
    """

    def __init__(self, experiment_name: str | None, **settings: Any) -> None:
        guard_logs()
        remember_arguments(sys.argv[1:])
        hide_command_line()
        mirror = settings_of(CallbackConfig, settings, "hydra.callbacks.explr_mlflow")
        if faults := paths_faults(mirror.data):
            raise ConfigError(faults)
        self._data = DataConfig(mirror.data).listed
        check_paths(self._data, working_directory())
        take_names(mirror.secret_names, mirror.harmless_names)
        self._experiment = experiment_name
        self._destination = Destination.of(mirror)
        self._sweep: Sweep | None = None
        self._parent: TrackedRun | None = None
        self._job: TrackedRun | None = None
        self._begun_s = 0.0
        self._in_job = False
        self._reported: list[float] = []

    def __getstate__(self) -> dict[str, Any]:
        """The state that is sent to a worker: the sweep, without the controller's open files."""
        return {**self.__dict__, "_parent": None, "_job": None}

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Open the sweep's own run; explr's sweepers do so once they hold the sweep's lock."""
        if not str(config.hydra.sweeper._target_).startswith(OWN_SWEEPERS):
            self.open_sweep(config)
            atexit.register(self._close_failed_sweep)

    def open_sweep(self, config: DictConfig, keeps_folders: bool = False) -> TrackedRun:
        """Open the run of a sweep.

        Args:
            config: composed config of the sweep.
            keeps_folders: the sweep may resume in its folder, and each trial in its own.

        Raises:
            TrackingError: the folder or EXPLR_HOME cannot be written, or no companion starts.
            UsageError: data cannot be read.
        """
        folder = Path(config.hydra.sweep.dir).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        resumed = "this sweep" if keeps_folders else ""
        data = note_data(self._data, folder, working_directory(), resumes=resumed)
        constant = constant_tags()
        given = overrides_of(config, "task")
        name = self._name(config, folder if keeps_folders else None)
        self._parent = open_run(
            folder,
            self._destination,
            experiment=name,
            name=sweep_name(folder, _searched(config), given),
            params=_params(config),
            tags={**provenance_tags(constant), "explr.kind": "sweep"},
            last_files=_results_of(folder),
            resumes=keeps_folders,
        )
        log_data(self._parent.tracker, data)
        journal = self._parent.journal.path
        command, host = this_command(folder), socket.gethostname()
        self._sweep = Sweep(journal, host, keeps_folders, constant, command, name, given)
        return self._parent

    def _name(self, config: DictConfig, resumed: Path | None = None) -> str:
        """Name of the experiment; that of a sweep which resumes in a folder stays.

        Args:
            config: composed config of the sweep or the job.
            resumed: folder of a sweep that may have begun before.
        """
        before = experiment_of(resumed) if resumed is not None and not self._experiment else None
        target = OmegaConf.select(config, "train_model", throw_on_missing=False)
        return self._experiment or before or project_name(target, working_directory())

    def on_job_start(
        self, config: DictConfig, *, task_function: TaskFunction, **kwargs: Any
    ) -> None:
        """Pass the sweep on to the job; open the job's run unless it does so itself."""
        set_current_sweep(self._sweep)
        self._job, self._in_job, self._begun_s = None, True, time.monotonic()
        if self._sweep is not None and not self._sweep.keeps_folders:  # else explr wrote it
            hide_secrets(self._sweep.journal.parent / MULTIRUN)
        if self._parent is not None:
            self._parent.keep_shipping()
        if getattr(task_function, OWN_TASK, False):
            return
        hydra = HydraConfig.get()
        folder = Path(hydra.runtime.output_dir)
        if hydra.output_subdir:
            hide_secrets(*saved_files(folder / hydra.output_subdir))
        sweep = self._sweep.journal.parent if self._sweep is not None else None
        data = note_data(self._data, folder, working_directory(), sweep=sweep)
        self._reported.clear()
        LISTENERS.add(self._hear)
        self._job = open_run(
            folder,
            self._destination.beside(self._sweep),
            experiment=self._name(config),
            name=self._run_name(config, folder),
            params=_params(config),
            tags={**provenance_of(self._sweep), "explr.kind": "trial" if self._sweep else "run"},
            parent=self._sweep.journal if self._sweep else None,
            first_files=(folder / hydra.output_subdir,) if hydra.output_subdir else (),
            last_files=(folder / f"{hydra.job.name}.log",),
            resumes=self._sweep is not None and self._sweep.keeps_folders,
        )
        log_data(self._job.tracker, data)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Close the job's run; a number that the job returned, or reported, becomes a metric."""
        set_current_sweep(None)
        self._in_job = False
        LISTENERS.drop(self._hear)
        if self._job is None:
            return
        if self._sweep is not None and not self._sweep.keeps_folders:  # else the study has it
            sweep, folder = self._sweep.journal.parent, self._job.journal.path.parent
            took_s, number = time.monotonic() - self._begun_s, int(config.hydra.job.num)
            command, reported = self._sweep.command, self._reported
            record_job(sweep, folder, number, job_return, took_s, command, reported)
        returned, tracker = value_of(job_return), self._job.tracker
        if job_return.status is JobStatus.COMPLETED:
            state, status = "COMPLETE", _status(None)
            value = objective_of(returned, config, self._reported)
            if isinstance(value, Mapping):
                value = value.get(config.hydra.sweeper.get("metric"))
            if isinstance(value, Real) and not isinstance(value, bool):
                tracker.log_metric("objective", float(value))
        elif is_pruning(returned):
            state, status = "PRUNED", _status(None)
        else:
            state, status = "FAIL", _status(returned)
        if status != "KILLED":
            tracker.set_tag("explr.state", state)  # an earlier attempt may have ended otherwise
        self._job.close(status)

    def _run_name(self, config: DictConfig, folder: Path) -> str:
        given = overrides_of(config, "task")
        if self._sweep is None:
            return run_name(folder, given)
        return trial_name(folder, given, self._sweep.overrides)

    def _hear(self, step: int, value: float) -> None:
        self._reported.append(value)

    def on_run_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Wait for the upload, and print where the run is."""
        if self._job is not None:
            _print_closing_line(self._job)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Close the sweep's run, wait for the upload, and print where it is."""
        if self._parent is not None:
            # Hydra calls this in a `finally`, so the exception in flight ended the sweep.
            status = _status(sys.exception())
            if status == "FINISHED":
                register_best(self._parent)
            self._parent.close("FAILED" if status == "FINISHED" and has_failed() else status)
            _print_closing_line(self._parent)
            if (charts := self._parent.compared(_minimizes(config))) is not None:
                print(f"Trials in charts: {charts}")

    def _close_failed_sweep(self) -> None:
        """Close the run of a sweep that an exception has ended: Hydra 1.3 tells of no such end.

        A run that is still open when this process is gone was killed; its companion says so.
        """
        interrupted = issubclass(getattr(sys, "last_type", Exception), KeyboardInterrupt)
        if self._parent and self._parent.status is None and not (self._in_job or interrupted):
            self._parent.close("FAILED")
            _print_closing_line(self._parent)


def tracking_uri_of(config: DictConfig) -> str | None:
    """The tracking URI that an app records to; None if it records nothing.

    Args:
        config: the composed config with Hydra's part.
    """
    for node in (OmegaConf.select(config, "hydra.callbacks") or {}).values():
        if str(node.get("_target_", "")).endswith(f".{MLflowCallback.__name__}"):
            return Destination(node.get("uri")).resolved_uri
    return None


def register_best(sweep: TrackedRun) -> None:
    """Register the model of a sweep's best trial, if the sweep's destination asks for it.

    Args:
        sweep: the run of the sweep.

    Raises:
        UsageError: the model is not where the training said, or the name cannot be used.
    """
    name = sweep.destination.register
    if name is None:
        return
    best = best_trial(sweep.journal.path.parent)
    runs = journals_in(best.folder) if best is not None else []
    if best is None or best.model is None or not best.model.exists() or not runs:
        log.warning("nothing is registered as %s: the best trial has saved no model", name)
        return
    sweep.register(name, best.model, describe(best), runs[-1])


def _print_closing_line(run: TrackedRun) -> None:
    """Print where a run is; after an interrupt, without waiting for its upload."""
    print(closing_line(run, wait=run.status != "KILLED"))


def _status(error: object) -> Status:
    """The status of a run that `error` ended; None stands for no error."""
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return "FINISHED"
    return "FAILED" if isinstance(error, (Exception, SystemExit)) else "KILLED"


def _results_of(folder: Path) -> tuple[Path, ...]:
    names = (MULTIRUN, COMMAND, RESULTS, BEST_PARAMS, REPORT)
    return tuple(folder / name for name in names)


def _minimizes(config: DictConfig) -> bool:
    """Whether smaller values of a sweep's first objective are better."""
    for node in ("hydra.sweeper", "objective"):
        found = OmegaConf.select(config, node, throw_on_missing=False)
        if OmegaConf.is_dict(found) and ("direction" in found or "metric" in found):
            with suppress(ExplrError):  # the direction is not known
                return ObjectiveConfig(found.get("metric"), found.get("direction")).minimize
    return True


def _searched(config: DictConfig) -> list[str]:
    """Names of what the config itself has ranges for."""
    node = OmegaConf.select(config, f"{SWEEPER_NODE}.params", throw_on_missing=False)
    return [str(key) for key in node] if OmegaConf.is_dict(node) else []


def _params(config: DictConfig) -> Mapping[str, Any]:
    """The config of the job without Hydra's part; interpolations stay as they are written."""
    job = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    OmegaConf.set_readonly(job, False)
    content = OmegaConf.to_container(job, resolve=False, enum_to_str=True)
    assert isinstance(content, dict)
    values = {str(key): value for key, value in content.items()}
    if is_own_tree(config):
        objective: Any = OmegaConf.to_container(config.objective, resolve=True)
        values["objective"]["direction"] = ObjectiveConfig(**objective).settled
        if not OmegaConf.select(config, "data.paths"):
            values.pop("data", None)
        # A trial records what it reads of these.
        for name in untouched_defaults(values, overrides_of(config, "task")):
            del values[name]
    return values
