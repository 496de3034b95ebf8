"""Measures the peak memory of jobs, from outside and by their own processes."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from explr.launching.hydra_job import HydraJob
from explr.sweep.executors.trial_process import RunTrial
from explr.tuning.trial import Job, Outcome, Peak
from explr.utils.gpu import HeldGpuMemory
from explr.utils.host import OwnPeak, family, held_gb
from explr.utils.lease import CONTEXT_GB, Lease
from explr.utils.readings import gpu_peak_memory_gb

LOOK_S = 0.5
"""Minimum seconds between two measurements."""

SPARING = 50
"""Seconds between two measurements per second that one takes: large processes take longer."""


@dataclass(frozen=True)
class MeasuredTrial:
    """Runs a job in this process and measures the peak memory of this process.

    Args:
        run: runs the job.
    """

    run: RunTrial

    def __call__(self, job: HydraJob) -> Outcome:
        """See `RunTrial`; this also measures short peaks, which are missed from outside."""
        host = OwnPeak()
        outcome = self.run(job)
        allocated_gb = gpu_peak_memory_gb()
        gpu_gb = None if allocated_gb is None else allocated_gb + CONTEXT_GB
        return replace(outcome, peak=Peak(host.gb, gpu_gb))


@dataclass
class _Seen:
    """Peak memory of a job and its children observed so far, on the host and on the GPU."""

    host_gb: float = 0.0
    gpu_gb: float | None = None
    children_gpu_gb: float = 0.0

    def peak(self, own: Peak | None = None) -> Peak:
        """The peak memory of the job.

        Args:
            own: what its process measured. The framework's value is preferred to the driver's,
                which includes memory that TensorFlow only reserves.
        """
        own = own or Peak()
        gpu_gb = self.gpu_gb if own.gpu_gb is None else own.gpu_gb
        return Peak(
            max(self.host_gb, own.host_gb),
            None if gpu_gb is None else gpu_gb + self.children_gpu_gb,
        )


class Meter:
    """Measures running jobs from outside, and keeps the peak of each.

    Args:
        gpus: the GPUs of the jobs; None without GPUs.
    """

    def __init__(self, gpus: HeldGpuMemory | None) -> None:
        self._gpus = gpus
        self._seen: dict[Job, _Seen] = {}
        self._due = time.monotonic()

    @property
    def due_in_s(self) -> float:
        """Seconds until the next measurement."""
        return max(0.0, self._due - time.monotonic())

    def expect(self) -> None:
        """Measure soon, because a job starts."""
        self._due = min(self._due, time.monotonic() + LOOK_S)

    def look(self, running: Iterable[tuple[Job, Lease, int]]) -> None:
        """Measure all running jobs.

        Args:
            running: each job with its lease and its process ID.
        """
        begin = time.thread_time()
        jobs = list(running)
        devices = [gpu for _, lease, _ in jobs for gpu in lease.gpus]
        for job, lease, pid in jobs:
            seen = self._seen.setdefault(job, _Seen())
            processes = family(pid)
            seen.host_gb = max(seen.host_gb, held_gb(processes))
            for gpu in lease.gpus if self._gpus is not None else ():
                assert self._gpus is not None
                alone = devices.count(gpu) == 1
                own = self._gpus.held_gb(gpu, processes[:1], alone)
                if own is not None:
                    seen.gpu_gb = max(seen.gpu_gb or 0.0, own)
                children = self._gpus.held_gb(gpu, processes[1:], False)
                seen.children_gpu_gb = max(seen.children_gpu_gb, children or 0.0)
        pause_s = max(LOOK_S, SPARING * (time.thread_time() - begin))
        self._due = time.monotonic() + pause_s

    def peak(self, job: Job) -> Peak | None:
        """Peak memory of a job observed so far; None if it was not measured yet."""
        seen = self._seen.get(job)
        return None if seen is None else seen.peak()

    def take(self, job: Job, own: Peak | None) -> Peak:
        """The peak memory of a job that ended.

        Args:
            job: the job.
            own: what its process measured.
        """
        return self._seen.pop(job, _Seen()).peak(own)

    def close(self) -> None:
        """Release the driver."""
        if self._gpus is not None:
            self._gpus.close()
