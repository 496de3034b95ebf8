"""What runs the jobs of a sweep, as the loop sees it.

What an executor answers before there is one is in `explr.sweep.executors.kind`.
"""

from __future__ import annotations

from typing import Protocol

from explr.tuning.trial import Job, Outcome


class Executor(Protocol):
    """Runs jobs, several at a time."""

    @property
    def slots(self) -> int:
        """How many jobs may run at the same time; the number may change."""
        ...

    def start(self, job: Job) -> None:
        """Start a job; never called while `slots` jobs run."""
        ...

    def wait(self, timeout_s: float | None) -> list[tuple[Job, Outcome]]:
        """Wait until a job ends.

        Args:
            timeout_s: how long at most; None sets no limit.

        Returns:
            The jobs that ended, and how; empty after the time-out.
        """
        ...

    def stop(self, job: Job, grace_s: float) -> None:
        """Ask a running job to end, and kill it after `grace_s` seconds, if that can be done."""
        ...

    def close(self) -> None:
        """Kill whatever still runs."""
        ...
