"""The protocol of an executor, which runs the jobs of a sweep.

`explr.sweep.executors.kind` describes an executor before it is created.
"""

from __future__ import annotations

from typing import Protocol

from explr.tuning.trial import Job, Outcome


class Executor(Protocol):
    """Runs jobs, several at a time."""

    @property
    def slots(self) -> int:
        """Maximum number of jobs at the same time; it may change."""
        ...

    def start(self, job: Job) -> None:
        """Start a job; never called while `slots` jobs run."""
        ...

    def wait(self, timeout_s: float | None) -> list[tuple[Job, Outcome]]:
        """Wait until a job ends.

        Args:
            timeout_s: maximum time to wait; None sets no limit.

        Returns:
            The jobs that ended, and how; empty after the time-out.
        """
        ...

    def stop(self, job: Job, grace_s: float, patience_s: float = 0.0) -> None:
        """Stop a running job, if possible.

        Args:
            job: the job.
            grace_s: seconds between interrupting and killing it.
            patience_s: seconds until it is interrupted; its next report has it end before.
        """
        ...

    def close(self) -> None:
        """Kill the jobs that still run."""
        ...
