"""Runs one job of a Hydra sweep in this process: folder, files, callbacks, task.

It saves and calls everything that Hydra saves and calls. What the overrides of the jobs have in
common, options of config groups above all, is composed once; the rest is applied to a copy of it.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.errors import HydraException
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from explr.config.hydra_private import apply_overrides, flush_logs, job_environment, job_name
from explr.config.hydra_versions import (
    changes_folder,
    configure_logging,
    load_logging,
    name_by_overrides,
    set_up_log,
    trusted_by,
    trusting,
)
from explr.config.messages import log_to_files
from explr.config.nodes import overrides_of
from explr.config.omegaconf_private import copy_without, pickled, resolvers_kept
from explr.core.errors import is_pruning
from explr.core.user_code import contained, failing_trial, user_traceback
from explr.launching.job_files import JobFiles
from explr.launching.script_names import find_in_main, script_names

_LOG = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(message)s"}},
    "handlers": {
        "file": {
            "class": "logging.FileHandler",
            "filename": os.devnull,
            "delay": True,
            "formatter": "plain",
        }
    },
}
"""A configuration of logging that changes nothing, since no logger has its handler."""


REFUSALS = (HydraException, OmegaConfBaseException, ValueError)
"""What Hydra raises if it cannot compose a config."""

MOST = 64
"""How many compositions are kept, one for each combination of options of swept config groups."""


@dataclass(frozen=True)
class HydraJob:
    """One job.

    Args:
        number: its number in the sweep.
        overrides: all overrides of the job, as Hydra's launchers take them; they are saved as
            `overrides.yaml`.
        common: those of them that other jobs have too; None composes all of them for this job.
        changes: the others, none of which is about an option of a config group. To apply them after
            `common` is to apply all in their order.
        composed: what is composed of `common`, pickled; empty if the process of the job has it, or
            composes it.
    """

    number: int
    overrides: list[str]
    common: tuple[str, ...] | None = None
    changes: Sequence[Override] = ()
    composed: bytes = b""


class Composed:
    """What is composed of the overrides that jobs have in common.

    Args:
        config: the config.
    """

    def __init__(self, config: DictConfig) -> None:
        self.config = config
        self.files = JobFiles()
        self._pickled = b""

    @property
    def pickled(self) -> bytes:
        """The config as bytes."""
        self._pickled = self._pickled or pickled(self.config)
        return self._pickled


@dataclass
class HydraTask:
    """What all jobs of a sweep share; it is sent to the fork server.

    Args:
        config: composed config of the sweep.
        context: Hydra's context.
        task: the app's task function.
        example: a job like those to come; what it has in common with them is composed here, so that
            other machines need no config files.
        state: Hydra's singletons.
    """

    config: DictConfig
    context: HydraContext
    task: TaskFunction
    example: HydraJob | None = None
    state: Any = field(default_factory=Singleton.get_state)

    def __post_init__(self) -> None:
        self._composed: dict[tuple[str, ...], Composed] = {}
        self._names: bytes | None = None
        if self.example is not None and self.example.common is not None:
            with suppress(*REFUSALS):  # each job raises it
                self._composed_of(self.example.common)

    def __getstate__(self) -> dict[str, Any]:
        """What is sent to another process, and from there to the next."""
        names = script_names(self.config) if self._names is None else self._names
        return {**vars(self), "_names": names}

    def adopt(self) -> None:
        """Make Hydra in this process what it was in the controller's, and fill its caches."""
        if self._names:
            find_in_main(self._names)
        setup_globals()
        with resolvers_kept():
            Singleton.set_state(self.state)
        load_logging()
        # What is wrong with an override, or needs the values of a job, is reported by the job.
        with suppress(HydraException, OmegaConfBaseException):
            self._rehearse()

    def warm_up(self) -> None:
        """Touch, ahead of the job in a process of its own, the memory that every job writes to."""
        for composed in self._composed.values():
            pickled(composed.config)
        if OmegaConf.select(self.config, "hydra.job_logging.root") is not None:
            configure_logging(deepcopy(_LOG), self.context)

    def _rehearse(self) -> None:
        """Do what every job does, on a config that is thrown away, and leave nothing behind."""
        if self.example is None or self.example.common is None:
            return
        config, files = self._config_of(self.example, own_process=False)
        with _in_force(config), trusting(trusted_by(self.context), reset=True):
            _, task_config = _settle(config)
            OmegaConf.to_container(config.hydra.job_logging, resolve=True)
            files.texts(config, task_config, _keys(self.example))

    def equipped(self, job: HydraJob) -> HydraJob:
        """A job for another process, which else composes what this one has composed.

        Args:
            job: the job.
        """
        example = None if self.example is None else self.example.common
        if job.common is None or job.common == example:
            return job
        try:
            return replace(job, composed=self._composed_of(job.common).pickled)
        except REFUSALS:  # the job raises it, where it is reported
            return job

    def config_of(self, job: HydraJob, own_process: bool) -> DictConfig:
        """The config of a job, as Hydra composes it of the job's overrides.

        Args:
            job: the job.
            own_process: no other job comes to this process.

        Raises:
            HydraException: an override cannot be applied.
        """
        return self._config_of(job, own_process)[0]

    def _config_of(self, job: HydraJob, own_process: bool) -> tuple[DictConfig, JobFiles]:
        """The config of a job, and what knows the text of its parts."""
        if job.common is None:
            config, files = self._compose(job.overrides), JobFiles()
        else:
            composed = self._composed_of(job.common, job.composed)
            files = composed.files
            if own_process:
                config = self._composed.pop(job.common).config  # the job changes it
            else:
                config = pickle.loads(composed.pickled)
            apply_overrides(config, job.changes)
            listed = config.hydra.overrides
            listed.task = [text for text in job.overrides if not _is_hydras(text)]
            if own := [each.input_line for each in job.changes if each.is_hydra_override()]:
                listed.hydra.extend(own)
            name_by_overrides(config)
        settings = config.hydra.job
        settings.id, settings.num = str(job.number), job.number
        return config, files

    def _composed_of(self, common: tuple[str, ...], known: bytes = b"") -> Composed:
        """What is composed of overrides that jobs have in common, for the last `MOST` of them."""
        composed = self._composed.pop(common, None)
        if composed is None:
            composed = Composed(pickle.loads(known) if known else self._compose(common))
        self._composed[common] = composed
        if len(self._composed) > MOST:
            del self._composed[next(iter(self._composed))]
        return composed

    def _compose(self, overrides: Sequence[str]) -> DictConfig:
        return self.context.config_loader.load_sweep_config(self.config, list(overrides))

    def folder_of(self, job: HydraJob) -> Path:
        """The folder of a job."""
        config = self.config_of(job, own_process=False)
        with _in_force(config):
            return _settle(config)[0]

    def run(self, job: HydraJob, own_process: bool = False) -> JobReturn:
        """Run a job as Hydra's own `run_job` does.

        Args:
            job: the job.
            own_process: nothing else runs in this process, before or after.

        Returns:
            Hydra's result of the job, with the exception of the task if it raised one.

        Raises:
            BaseException: anything but an `Exception`, such as KeyboardInterrupt.
        """
        config, files = self._config_of(job, own_process)
        with _in_force(config), trusting(trusted_by(self.context), reset=True):
            return self._run(config, partial(files.texts, changed=_keys(job)))

    def _run(self, config: DictConfig, texts: Callable[..., dict[str, str]]) -> JobReturn:
        result = JobReturn()
        folder, task_config = _settle(config)
        hydra = config.hydra
        result.cfg, result.hydra_cfg = task_config, config
        result.overrides = overrides_of(config, "task")
        result.task_name = job_name()
        folder.mkdir(parents=True, exist_ok=True)
        with _working_directory(folder if changes_folder(config) else None):
            result.working_dir = os.getcwd()
            set_up_log(config, self.context)
            if (subdir := hydra.output_subdir) is not None:
                saved = folder / subdir
                saved.mkdir(parents=True, exist_ok=True)
                for name, text in texts(config, task_config).items():
                    (saved / name).write_text(text, encoding="utf-8")
            with job_environment(hydra.job.env_set):
                _call(config, task_config, self.task, self.context, result)
        return result


def _keys(job: HydraJob) -> list[str]:
    """The keys in which a job differs from what is composed of `common`."""
    return [each.key_or_group for each in job.changes]


def _is_hydras(override: str) -> bool:
    return override.lstrip("+~").startswith(("hydra.", "hydra/"))


@contextmanager
def _in_force(config: DictConfig) -> Iterator[None]:
    """Have the names of folders, and whatever else asks Hydra, refer to the config of a job."""
    before = HydraConfig.instance().cfg
    HydraConfig.instance().cfg = config  # type: ignore[assignment]
    try:
        yield
    finally:
        HydraConfig.instance().cfg = before


def _settle(config: DictConfig) -> tuple[Path, DictConfig]:
    """Put what only the job tells into its config; its folder, and the config for the task."""
    hydra = config.hydra
    sweep, runtime, variables = hydra.sweep, hydra.runtime, hydra.job.env_set
    folder = Path(str(sweep.dir), str(sweep.subdir)).absolute()
    with read_write(runtime), open_dict(runtime):
        runtime.output_dir = str(folder)
    with read_write(variables):
        OmegaConf.resolve(variables)
    OmegaConf.set_readonly(hydra, True)
    return folder, copy_without(config, "hydra")


def _call(
    config: DictConfig,
    task_config: DictConfig,
    task: TaskFunction,
    context: HydraContext,
    result: JobReturn,
) -> None:
    """Call the task between its callbacks."""
    context.callbacks.on_job_start(config=config, task_function=task)
    try:
        with failing_trial(), contained():
            result.return_value = task(task_config)
        result.status = JobStatus.COMPLETED
    except BaseException as error:
        result.return_value = error
        result.status = JobStatus.FAILED
        if not isinstance(error, Exception):
            raise
        _tell_log(error)
    finally:
        with suppress(OSError, ValueError):  # a full disk or a closed stream costs no result
            flush_logs()
        context.callbacks.on_job_end(config=config, job_return=result)


def _tell_log(error: Exception) -> None:
    """Write a failure of the task to the job's log, from the first frame of the task on."""
    trace = error.__traceback__
    error.__traceback__ = trace.tb_next if trace else None  # this module's own frame says nothing
    if not is_pruning(error):
        with suppress(Exception):  # whatever a handler of the user's raises
            log_to_files("Job failed", error, user_traceback(error) or error.__traceback__)


@contextmanager
def _working_directory(folder: Path | None) -> Iterator[None]:
    before = os.getcwd()
    if folder is not None:
        os.chdir(folder)
    try:
        yield
    finally:
        if folder is not None:
            os.chdir(before)
