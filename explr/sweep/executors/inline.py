"""Every job in the controller's own process."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from explr.core.signals import check_stopped
from explr.launching.hydra_job import HydraTask
from explr.runner.reporting import reporting_to
from explr.sweep.executors.kind import ExecutorKind, JobOf, Launching, OutputOf, Place
from explr.sweep.executors.outcome import judge, unjudged
from explr.sweep.executors.trial_process import RunTrial
from explr.tuning.channel import ChannelServer, Report
from explr.tuning.executor import Executor
from explr.tuning.trial import Job, Outcome

log = logging.getLogger("explr.sweep")


class InlineExecutor:
    """Every job in the controller's own process, one after the other; for debugging.

    Args:
        task: what all jobs share.
        job_of: turns a trial's job into Hydra's.
        channel: takes reports.
        objectives: number of values that a job must return.
    """

    slots = 1

    def __init__(
        self,
        task: HydraTask,
        job_of: JobOf,
        channel: ChannelServer,
        objectives: int,
    ) -> None:
        self._run = RunTrial(task, objectives)
        self._job_of = job_of
        self._channel = channel
        self._ended: list[tuple[Job, Outcome]] = []

    def start(self, job: Job) -> None:
        """See `Executor.start`."""
        try:
            with reporting_to(self._channel, job.key):
                returned = self._run.task.run(self._job_of(job, None))
                check_stopped()
            outcome = judge(returned, self._run.objectives)
        except BaseException as error:
            outcome = unjudged(error)
            if isinstance(error, KeyboardInterrupt):  # Ctrl-C also stops the sweep
                raise
        finally:
            self._ended.append((job, outcome))

    def wait(self, timeout_s: float | None) -> list[tuple[Job, Outcome]]:
        """See `Executor.wait`."""
        ended, self._ended = self._ended, []
        return ended

    def stop(self, job: Job, grace_s: float, patience_s: float = 0.0) -> None:
        """See `Executor.stop`; a job in this process cannot be stopped from outside."""

    def close(self) -> None:
        """See `Executor.close`."""


class InlineKind(ExecutorKind):
    """Every job in the process of the sweep itself."""

    timeout_caveat = "tuner.trial_timeout_s has no effect with hydra/launcher=basic"

    def place(self, launcher: Any) -> Place:
        """See `ExecutorKind.place`."""
        return Place.PROCESS

    @contextmanager
    def executor(
        self, launching: Launching, job_of: JobOf, report: Report, output_of: OutputOf
    ) -> Iterator[Executor]:
        """See `ExecutorKind.executor`."""
        if launching.n_jobs > 1:
            log.warning("hydra/launcher=basic runs one trial at a time")
        with closing(ChannelServer(report, None, launching.metric, launching.missed)) as channel:
            yield InlineExecutor(launching.shared, job_of, channel, launching.objectives)
