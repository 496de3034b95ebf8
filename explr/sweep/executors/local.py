"""Each job in a fresh process on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from explr.launching.hydra_job import HydraJob, HydraTask
from explr.launching.pool import LocalPool
from explr.sweep.executors.kind import JobOf
from explr.sweep.executors.leases import Leases
from explr.sweep.executors.outcome import outcome_of
from explr.sweep.executors.trial_process import Prepare
from explr.tuning.channel import ChannelServer
from explr.tuning.executor import Executor
from explr.tuning.trial import Job, Outcome
from explr.utils.host import kills_for_memory
from explr.utils.lease import Lease


class LocalExecutor:
    """Each job in a fresh process on this machine, with a GPU lease.

    Args:
        task: what all jobs share.
        job_of: turns a trial's job into Hydra's.
        leases: the number of jobs at once, and the GPUs of each.
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
        self._task = task
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
        """Running jobs, each with its lease and its process ID."""
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
            self._task.equipped(self._job_of(job, lease)),
            environment=lease.environment | self._channel.variable(job.key),
            output=self._output_of(job),
        )

    def wait(self, timeout_s: float | None) -> list[tuple[Job, Outcome]]:
        """See `Executor.wait`."""
        ended = []
        for answer in self._pool.wait(timeout_s):
            job, lease = self._running.pop(answer.key)
            self._leases.give_back(lease)
            kills = self._kills.pop(job.key)
            ended.append((job, outcome_of(answer, None if job.key in self._stopped else kills)))
            self._stopped.discard(job.key)
        return ended

    def stop(self, job: Job, grace_s: float, patience_s: float = 0.0) -> None:
        """See `Executor.stop`."""
        self._stopped.add(job.key)
        self._pool.stop(job.key, grace_s, patience_s)

    def close(self) -> None:
        """See `Executor.close`."""
        self._pool.close()


def _conforms(executor: LocalExecutor) -> Executor:
    return executor
