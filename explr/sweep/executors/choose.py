"""Which executor runs the jobs of a sweep: `hydra.launcher` decides."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from explr.core.errors import ConfigError, UsageError
from explr.core.validation import AUTO, slots_faults
from explr.launching.hydra_job import HydraTask
from explr.sweep.executors.hydra_launcher import RAY, LauncherExecutor, listening_host, make_ready
from explr.sweep.executors.inline import InlineExecutor
from explr.sweep.executors.leases import FixedLeases, Leases, devices_and_budget, leases_for
from explr.sweep.executors.local import JobOf, LocalExecutor
from explr.sweep.executors.meter import MeasuredTrial
from explr.sweep.executors.packed import CountedReports, PackedExecutor, packed_executor
from explr.sweep.executors.trial_process import RunTrial
from explr.tracking.callback import OWN_TASK
from explr.tuning.channel import ChannelServer, Report
from explr.tuning.executor import Executor
from explr.tuning.trial import Job

log = logging.getLogger("explr.sweep")

BASIC = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
LOCAL = "explr.plugins.local_launcher.LocalLauncher"


@dataclass(frozen=True)
class Launching:
    """How the jobs of a sweep are launched.

    Args:
        config: composed config of the sweep.
        context: Hydra's context.
        task: the app's task function.
        n_jobs: jobs at the same time, or AUTO for as many as fit into memory.
        objectives: number of values that a job must return.
        memory_gb: GiB of host memory that AUTO shares out; None takes most of what is free.
    """

    config: DictConfig
    context: HydraContext
    task: TaskFunction
    n_jobs: Any
    objectives: int
    memory_gb: float | None = None

    @contextmanager
    def executor(
        self, job_of: JobOf, report: Report, output_of: Callable[[Job], Path | None]
    ) -> Iterator[Executor]:
        """What runs the jobs, and the channel that they report through.

        Args:
            job_of: turns a trial's job into Hydra's.
            report: takes their reports.
            output_of: file for what a job prints, where it has a process of its own.
        """
        task = HydraTask(self.config, self.context, self.task)
        auto = self.n_jobs == AUTO
        counted = CountedReports(report)
        taken_by = counted if auto else report
        with closing(ChannelServer(taken_by, self._listening_host())) as channel:
            executor: Executor
            if self._target == LOCAL:
                run = RunTrial(task, self.objectives)
                local = partial(
                    LocalExecutor,
                    task,
                    job_of,
                    channel=channel,
                    preload=preload(self.config, self.task),
                    run=MeasuredTrial(run) if auto else run,
                    output_of=output_of,
                )
                executor = self._packed(local, counted) if auto else self._fixed(local)
            elif self._target == BASIC:
                executor = self._inline(task, job_of, report)
            else:
                executor = self._launched(job_of, channel)
            with closing(executor):
                yield executor

    def check_slots(self) -> None:
        """Make sure that the number of jobs at the same time is one, or can be found out.

        Raises:
            ConfigError: it is neither.
        """
        faults = slots_faults(self.n_jobs, self.memory_gb, "hydra.sweeper")
        if self.n_jobs == AUTO and self._target != LOCAL:
            faults.append(
                "n_jobs=auto needs hydra/launcher=explr_local, whose trials can be measured: with "
                "another launcher give a number"
            )
        if faults:
            raise ConfigError(faults)

    def warn_of_timeouts(self) -> None:
        """Say so where a limit on the time of a trial is not kept."""
        if self._target == BASIC:
            log.warning("tuner.trial_timeout_s has no effect with hydra/launcher=basic")
        elif self._target not in (LOCAL, RAY):
            log.warning(
                "with this launcher a trial that exceeds tuner.trial_timeout_s ends with its next "
                "report, and not before"
            )

    @property
    def _target(self) -> str:
        return str(self.config.hydra.launcher._target_)

    def _listening_host(self) -> str | None:
        if self._target in (LOCAL, BASIC):
            return None
        return listening_host(self.config.hydra.launcher)

    def _packed(
        self, local: Callable[[Leases], LocalExecutor], counted: CountedReports
    ) -> PackedExecutor:
        devices, budget_gb = devices_and_budget(self.config, self.task)
        return packed_executor(local, devices, budget_gb, self.memory_gb, counted)

    def _fixed(self, local: Callable[[Leases], LocalExecutor]) -> LocalExecutor:
        return local(FixedLeases(leases_for(self.config, self.task, self.n_jobs)))

    def _inline(self, task: HydraTask, job_of: JobOf, report: Report) -> InlineExecutor:
        if self.n_jobs > 1:
            log.warning("hydra/launcher=basic runs one trial at a time")
        return InlineExecutor(task, job_of, report, self.objectives)

    def _launched(self, job_of: JobOf, channel: ChannelServer) -> LauncherExecutor:
        def launcher() -> Any:
            return Plugins.instance().instantiate_launcher(
                config=self.config, hydra_context=self.context, task_function=self.task
            )

        slots = make_ready(self.config.hydra.launcher, self.n_jobs)
        if self._target == RAY:
            from explr.sweep.executors.hydra_launcher import RayLauncherExecutor

            return RayLauncherExecutor(launcher, job_of, slots, channel, self.objectives)
        return LauncherExecutor(launcher, job_of, slots, channel, self.objectives)


def preload(config: DictConfig, task: TaskFunction) -> list[str]:
    """Modules to import before the first job: the framework, and what the launcher's config names.

    Args:
        config: composed config of the sweep.
        task: the app's task function.
    """
    modules = list(OmegaConf.select(config, "hydra.launcher.preload") or [])
    if getattr(task, OWN_TASK, False):
        from explr.runner.prepare import framework_of, given_to

        with suppress(UsageError):  # a trial may choose another training, and tells what is wrong
            modules += framework_of(config, given_to(task)).packages[:1]
    return modules
