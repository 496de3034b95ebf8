"""As many jobs at once as fit into memory: `n_jobs=auto`."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from explr.sweep.executors.leases import Leases, PackedLeases
from explr.sweep.executors.local import LocalExecutor
from explr.sweep.executors.meter import Meter
from explr.sweep.executors.outcome import OUT_OF_MEMORY
from explr.sweep.executors.packing import Packing, Room
from explr.tuning.channel import Report
from explr.tuning.executor import Executor
from explr.tuning.feasibility.failure import Failure
from explr.tuning.trial import Job, Outcome
from explr.utils.gpu import HeldGpuMemory
from explr.utils.host import available_gb, cpu_cores


@dataclass(frozen=True)
class CountedReports:
    """Counts the reports of each job and forwards them.

    Args:
        report: receives them.
    """

    report: Report
    counts: Counter[int] = field(default_factory=Counter, init=False)
    """Number of reports by key of the job."""

    def __call__(self, key: int, step: int, value: float) -> bool:
        """Count a report and forward it."""
        self.counts[key] += 1
        return self.report(key, step, value)


log = logging.getLogger("explr.sweep")

REPEATS = 2
"""Reports after which the memory use of a training is assumed to repeat."""

HOST_SHARE = 0.9
"""Fraction of the free host memory that all trials together may use."""


class PackedExecutor:
    """Measures the jobs of another executor, and runs as many at once as fit into memory.

    A job that runs out of memory while others run is retried alone. A job that runs out of memory
    alone has failed.

    Args:
        inner: runs the jobs.
        packing: decides how many jobs fit; `inner` takes its slots from it.
        meter: measures the jobs.
        reports: takes the reports of the jobs.
    """

    def __init__(
        self, inner: LocalExecutor, packing: Packing, meter: Meter, reports: CountedReports
    ) -> None:
        self._inner = inner
        self._packing = packing
        self._meter = meter
        self._reported = reports.counts
        self._weighed: set[Job] = set()
        self._together: dict[Job, int] = {}
        self._limited: set[Job] = set()

    @property
    def slots(self) -> int:
        """See `Executor.slots`."""
        return self._inner.slots

    def start(self, job: Job) -> None:
        """See `Executor.start`."""
        self._together[job] = 0
        now = len(self._together)
        self._together = {each: max(most, now) for each, most in self._together.items()}
        if 0 < self._packing.room.gpus < self.slots and not job.alone:
            self._limited.add(job)  # it may use only a part of its GPU
        self._reported.pop(job.key, None)
        self._inner.start(job)
        self._meter.expect()

    def wait(self, timeout_s: float | None) -> list[tuple[Job, Outcome]]:
        """See `Executor.wait`."""
        deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while True:
            if not self._meter.due_in_s:
                # Read before measuring, so that the measurement includes all of their memory.
                repeat = [job for job in self._together if self._reported[job.key] >= REPEATS]
                self._meter.look(self._inner.processes)
                if self._weigh(repeat):
                    return []  # there is room for more
            left_s = max(0.0, deadline - time.monotonic())
            ended = self._inner.wait(min(left_s, self._meter.due_in_s))
            if ended or time.monotonic() >= deadline:
                break
        return [(job, self._judged(job, outcome)) for job, outcome in ended]

    def stop(self, job: Job, grace_s: float, patience_s: float = 0.0) -> None:
        """See `Executor.stop`."""
        self._inner.stop(job, grace_s, patience_s)

    def close(self) -> None:
        """See `Executor.close`."""
        self._inner.close()
        self._meter.close()

    def _weigh(self, repeat: list[Job]) -> bool:
        """Use the peaks of jobs whose memory use repeats; returns whether more jobs fit now."""
        before = self.slots
        for job in repeat:
            peak = self._meter.peak(job)
            if peak is not None and job not in self._weighed:
                self._weighed.add(job)
                self._tell(self._packing.measured(peak))
        return self.slots > before

    def _judged(self, job: Job, outcome: Outcome) -> Outcome:
        """Update the packing from how a job ended, and decide whether it is retried alone."""
        peak = self._meter.take(job, outcome.peak)
        together, limited = self._together.pop(job), job in self._limited
        weighed = job in self._weighed
        self._limited.discard(job)
        self._weighed.discard(job)
        if outcome.state in ("COMPLETE", "PRUNED"):
            self._tell(self._packing.measured(peak, again=weighed))
        if not outcome.out_of_memory:
            return outcome
        self._tell(self._packing.ran_out(together, peak))
        if not job.alone and (together > 1 or limited or outcome.died):
            return replace(outcome, try_alone=True)
        if outcome.failure is not Failure.OUT_OF_MEMORY:
            return outcome  # killed again, and not by the kernel
        said = outcome.reason.removeprefix(OUT_OF_MEMORY).removeprefix(": ")
        reason = f"{OUT_OF_MEMORY} with no trial beside it, at {peak} or more"
        return replace(outcome, reason=f"{reason}: {said}" if said else reason, died=False)

    def _tell(self, line: str | None) -> None:
        if line is not None:
            log.info(line)


def packed_executor(
    local: Callable[[Leases], LocalExecutor],
    budgets_gb: Mapping[str, float],
    device: str | None,
    memory_gb: float | None,
    reports: CountedReports,
    per_trial: int = 1,
    processes: int = 1,
) -> PackedExecutor:
    """An executor that measures how many jobs it can run at once.

    Args:
        local: makes the executor that runs the jobs, for given leases.
        budgets_gb: the GPUs, or groups of them, as `CUDA_VISIBLE_DEVICES` names them, each with GiB
            for all that run there at once; 0 sets no limit.
        device: how a job names its GPU; see `Lease`.
        memory_gb: GiB of host memory for all jobs; None takes most of what is free.
        reports: takes the reports of the jobs.
        per_trial: GPUs of each job.
        processes: processes of each job.
    """
    free_gb = available_gb()
    host_gb = free_gb * HOST_SHARE if memory_gb is None else min(memory_gb, free_gb)
    single = [name for group in budgets_gb for name in group.split(",")]
    gpus = HeldGpuMemory(single) if single else None
    meter = Meter(gpus)
    try:
        limits = [budget_gb for budget_gb in budgets_gb.values() if budget_gb]
        if gpus is not None:
            limits += [gb for gb in map(gpus.free_gb, single) if gb is not None]
        room = Room(
            cpu_cores(), host_gb, len(budgets_gb), min(limits, default=None), per_trial, processes
        )
        packing = Packing(room)
        log.info("n_jobs=auto: %s", packing)
        inner = local(PackedLeases(packing, budgets_gb, device))
    except BaseException:
        meter.close()
        raise
    return PackedExecutor(inner, packing, meter, reports)


def _conforms(executor: PackedExecutor) -> Executor:
    return executor
