"""Kinds of executors, which describe an executor before it is created; see `choose.KINDS`."""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from explr.config.nodes import is_own_tree, own_target
from explr.core.errors import UsageError
from explr.launching.hydra_job import HydraJob, HydraTask
from explr.runner.prepare import framework_of, given_to
from explr.sweep.executors.outcome import metric_of
from explr.tuning.channel import Missed, Report
from explr.tuning.executor import Executor
from explr.tuning.trial import Job
from explr.utils.lease import Lease

JobOf = Callable[[Job, Lease | None], HydraJob]
"""Turns a trial's job into Hydra's, with its GPU lease if it has one."""

OutputOf = Callable[[Job], Path | None]
"""File for the output of a job that has its own process."""


class Place(Enum):
    """Where jobs run."""

    PROCESS = "in the process of the sweep itself"
    MACHINE = "in other processes of this machine"
    ANYWHERE = "on other machines too"


@dataclass(frozen=True)
class Launching:
    """What the jobs of a sweep are launched with.

    Args:
        config: composed config of the sweep.
        context: Hydra's context.
        task: the app's task function.
        n_jobs: jobs at the same time, or AUTO for as many as fit into memory.
        objectives: number of values that a job must return.
        memory_gb: GiB of host memory for all jobs with AUTO; None uses most of the free memory.
        example: a job like those to come.
        missed: receives what a trial reports in place of the objective.
    """

    config: DictConfig
    context: HydraContext
    task: TaskFunction
    n_jobs: Any
    objectives: int
    memory_gb: float | None = None
    example: HydraJob | None = None
    missed: Missed = lambda job, names: None

    @property
    def shared(self) -> HydraTask:
        """What jobs share that explr runs itself."""
        return HydraTask(self.config, self.context, self.task, self.example)

    @property
    def launcher(self) -> Any:
        """The node `hydra.launcher`."""
        node = self.config.hydra.launcher
        target = own_target(self.config, "hydra/launcher")
        return node if target is None else OmegaConf.merge(node, {"_target_": target})

    @property
    def metric(self) -> str | None:
        """Name of the metric that the app reports; None takes the first one."""
        return metric_of(self.config)

    @property
    def preload(self) -> list[str]:
        """Modules to import before the first job: the framework, and `hydra.launcher.preload`."""
        modules = list(OmegaConf.select(self.config, "hydra.launcher.preload") or [])
        if is_own_tree(self.config):
            with suppress(UsageError):  # a trial may choose another training; it reports the error
                modules += framework_of(self.config, given_to(self.task)).packages[:1]
        return modules


class ExecutorKind(ABC):
    """Creates executors of one kind, and describes them before."""

    measures_memory = False
    """Whether it can measure how many jobs fit into memory: `n_jobs=auto`."""

    timeout_caveat = ""
    """Warning if jobs are not stopped as soon as they exceed `trial_timeout_s`; "" if they are."""

    @abstractmethod
    def place(self, launcher: Any) -> Place:
        """Where its jobs run.

        Args:
            launcher: the node `hydra.launcher`.
        """

    @abstractmethod
    def executor(
        self, launching: Launching, job_of: JobOf, report: Report, output_of: OutputOf
    ) -> AbstractContextManager[Executor]:
        """Create an executor, and close it at the end of the block.

        Args:
            launching: what its jobs are launched with.
            job_of: turns a trial's job into Hydra's.
            report: receives the reports of the jobs.
            output_of: file for the output of a job.
        """

    def listening_host(self, launcher: Any) -> str | None:
        """Address to listen on for reports of its jobs; None if they run on this machine.

        Args:
            launcher: the node `hydra.launcher`.
        """
        if self.place(launcher) is not Place.ANYWHERE:
            return None
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("192.0.2.1", 9))  # sends nothing: it selects the outgoing interface
                return str(probe.getsockname()[0])
            except OSError:
                return "127.0.0.1"
