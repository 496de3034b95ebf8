"""What runs the jobs of a sweep: fresh processes here, this process, or any launcher of Hydra's."""

from __future__ import annotations

import errno
import math
import os
import signal
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus

from explr.core.config import ExplrConfig, MLflowConfig
from explr.core.errors import ExplrError, TrialPruned, UsageError
from explr.core.secrets import redacted_text
from explr.frameworks.base import get_framework
from explr.launching.hydra_job import HydraJob, HydraTask
from explr.launching.lease import Lease
from explr.launching.pool import Answer, LocalPool, WorkerDied
from explr.runner.call import user_traceback
from explr.runner.checks import check_target
from explr.runner.job import train_job
from explr.runner.leases import Leases
from explr.runner.out_of_memory import OUT_OF_MEMORY, is_out_of_memory
from explr.runner.reporting import reporting_to
from explr.tracking.callback import OWN_TASK
from explr.tracking.processes import identity_of
from explr.tracking.provenance import provenance_tags
from explr.tuning.base import Executor, Job, Outcome
from explr.tuning.channel import ChannelServer
from explr.utils.host_memory import kills_for_memory

JobOf = Callable[[Job, Lease | None], HydraJob]
"""Turns a trial's job into Hydra's, for the lease of its slot if it has one."""


@dataclass(frozen=True)
class RunTrial:
    """Runs one job in the process at hand and judges it; travels to the fork server.

    Args:
        task: what all jobs share.
        objectives: number of values that a job must return.
    """

    task: HydraTask
    objectives: int

    def __call__(self, job: HydraJob) -> Outcome:
        """Run a job; an exception of the task becomes an outcome."""
        try:
            return judge(self.task.run(job, own_process=True), self.objectives)
        except BaseException as error:  # noqa: BLE001 - it is the outcome
            return unjudged(error)


@dataclass(frozen=True)
class Prepare:
    """Makes the fork server ready, and checks there what the controller need not import."""

    task: HydraTask

    def __call__(self) -> None:
        """Make Hydra what it is in the controller; import the training function.

        Raises:
            UsageError: the training function is not found, or cannot be called.
        """
        self.task.adopt()
        if self.task.task is train_job:
            check_target(self.task.config)
        if getattr(self.task.task, OWN_TASK, False):
            # What is at fault without a trial's values is left to the trial, which tells it.
            with suppress(UsageError):
                self._look_ahead()

    def _look_ahead(self) -> None:
        """Import and look up what every training would import and look up."""
        config = ExplrConfig.from_composed(self.task.config)
        get_framework(config.framework.name)
        if isinstance(config.tracking, MLflowConfig):
            provenance_tags()
            identity_of()


def unjudged(error: BaseException) -> Outcome:
    """What it means that a job was ended by something that Hydra does not catch."""
    if isinstance(error, KeyboardInterrupt):
        return Outcome("RUNNING", reason="ended by a signal")
    if isinstance(error, SystemExit):
        return Outcome("FAIL", reason=f"the training called exit({error.code})")
    return _failed(error)


def judge(returned: JobReturn, objectives: int) -> Outcome:
    """What a finished job means for its trial.

    Args:
        returned: what Hydra says of the job.
        objectives: number of values that it must have returned.
    """
    value = returned._return_value
    if returned.status is not JobStatus.COMPLETED:
        if isinstance(value, TrialPruned) or type(value).__name__ == "TrialPruned":
            return Outcome("PRUNED", reason=str(value))
        if isinstance(value, BaseException):
            return _failed(value)
    values = value if isinstance(value, (list, tuple)) else (value,)
    if len(values) != objectives:
        return Outcome("FAIL", reason=f"returned {len(values)} values for {objectives} objectives")
    numbers = []
    for one in values:
        try:
            number = math.nan if isinstance(one, (str, bytes, bool)) else float(one)
        except (TypeError, ValueError):
            number = math.nan
        if math.isnan(number):
            return Outcome("FAIL", reason=f"returned {one!r}, which is no number")
        numbers.append(number)
    return Outcome("COMPLETE", tuple(numbers))


def _failed(error: BaseException) -> Outcome:
    """What an exception means for its trial."""
    if isinstance(error, ExplrError):
        return Outcome("FAIL", reason=redacted_text(str(error)))
    reason = f"{type(error).__name__}: {error}"
    if out_of_memory := is_out_of_memory(error):
        reason = f"{OUT_OF_MEMORY}: {error}".removesuffix(": ")
    elif isinstance(error, OSError) and error.errno == errno.ENOSPC:
        reason = f"no space left at {error.filename or os.getcwd()}"
    own = user_traceback(error) or error.__traceback__
    detail = "".join(traceback.format_exception(type(error), error, own))
    return Outcome(
        "FAIL",
        reason=redacted_text(reason),
        detail=redacted_text(detail),
        out_of_memory=out_of_memory,
    )


class LocalExecutor:
    """Each job in a fresh process on this machine, with a GPU lease.

    Args:
        task: what all jobs share.
        job_of: turns a trial's job into Hydra's.
        leases: how many jobs run at once, and what each of them may use of the GPUs.
        channel: where jobs report.
        preload: modules to import before the first job.
        run: runs a job in its process.
        output_of: file for the output of a job; None lets it share the controller's.
    """

    def __init__(
        self,
        task: HydraTask,
        job_of: JobOf,
        leases: Leases,
        channel: ChannelServer,
        preload: list[str],
        run: Callable[[HydraJob], Outcome],
        output_of: Callable[[Job], Path | None],
    ) -> None:
        self._job_of = job_of
        self._leases = leases
        self._channel = channel
        self._output_of = output_of
        self._running: dict[int, tuple[Job, Lease]] = {}
        self._kills: dict[int, int] = {}
        self._stopped: set[int] = set()
        self._pool = LocalPool(run, preload, Prepare(task), task.warm_up)

    @property
    def slots(self) -> int:
        """See `Executor.slots`."""
        return self._leases.slots

    @property
    def processes(self) -> list[tuple[Job, Lease, int]]:
        """Jobs that run, each with its lease and the number of its process."""
        return [
            (*self._running[key], pid)
            for key, pid in self._pool.pids.items()
            if key in self._running
        ]

    def start(self, job: Job) -> None:
        """See `Executor.start`."""
        lease = self._leases.take(job)
        self._running[job.key] = job, lease
        self._kills[job.key] = kills_for_memory()
        self._pool.start(
            job.key,
            self._job_of(job, lease),
            environment=lease.environment | self._channel.variable(job.key),
            output=self._output_of(job),
        )

    def wait(self, timeout_s: float | None) -> list[tuple[Job, Outcome]]:
        """See `Executor.wait`."""
        ended = []
        for answer in self._pool.wait(timeout_s):
            job, lease = self._running.pop(answer.key)
            self._leases.give_back(lease)
            ended.append((job, answer.value if answer.error is None else self._failed(answer)))
            self._stopped.discard(job.key)
            del self._kills[job.key]
        return ended

    def stop(self, job: Job, grace_s: float) -> None:
        """See `Executor.stop`."""
        self._stopped.add(job.key)
        self._pool.stop(job.key, grace_s)

    def _failed(self, answer: Answer) -> Outcome:
        """What it means that a job's process gave no answer, or none that could be sent."""
        reason = str(answer.error)
        if not isinstance(answer.error, WorkerDied):
            return Outcome("FAIL", reason=reason)
        killed = answer.error.code == -signal.SIGKILL and answer.key not in self._stopped
        if killed and kills_for_memory() > self._kills[answer.key]:
            reason = f"{OUT_OF_MEMORY}: the kernel killed it"
        return Outcome("FAIL", reason=reason, died=True, out_of_memory=killed)

    def close(self) -> None:
        """See `Executor.close`."""
        self._pool.close()


class InlineExecutor:
    """Every job in the controller's own process, one after the other; for debugging.

    Args:
        task: what all jobs share.
        job_of: turns a trial's job into Hydra's.
        report: takes reports; see `ChannelServer`.
        objectives: number of values that a job must return.
    """

    slots = 1

    def __init__(
        self,
        task: HydraTask,
        job_of: JobOf,
        report: Callable[[int, int, float], bool],
        objectives: int,
    ) -> None:
        self._run = RunTrial(task, objectives)
        self._job_of = job_of
        self._report = report
        self._ended: list[tuple[Job, Outcome]] = []

    def start(self, job: Job) -> None:
        """See `Executor.start`."""
        try:
            with reporting_to(self._report, job.key):
                returned = self._run.task.run(self._job_of(job, None))
            outcome = judge(returned, self._run.objectives)
        except BaseException as error:
            outcome = unjudged(error)
            if isinstance(error, KeyboardInterrupt):  # meant for the sweep too
                raise
        finally:
            self._ended.append((job, outcome))

    def wait(self, timeout_s: float | None) -> list[tuple[Job, Outcome]]:
        """See `Executor.wait`."""
        ended, self._ended = self._ended, []
        return ended

    def stop(self, job: Job, grace_s: float) -> None:
        """See `Executor.stop`; a job in this process cannot be stopped from outside."""

    def close(self) -> None:
        """See `Executor.close`."""


def _conforms(one: LocalExecutor, two: InlineExecutor) -> list[Executor]:
    return [one, two]
