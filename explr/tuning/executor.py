"""What runs the jobs of a sweep, as the loop sees it."""

from __future__ import annotations

from typing import Protocol

from explr.tuning.trial import Job, Outcome


class Executor(Protocol):
    """Runs jobs, several at a time."""

    @property
    def slots(self) -> int:
        """How many jobs may run at the same time; another number from time to time."""
        ...

    def start(self, job: Job) -> None:
        """Start a job; never called with all slots taken."""
        ...

    def wait(self, timeout_s: float | None) -> list[tuple[Job, Outcome]]:
        """Wait for the first job to end, `timeout_s` at most; those that ended."""
        ...

    def stop(self, job: Job, grace_s: float) -> None:
        """Have a running job end within `grace_s` seconds, if that can be done."""
        ...

    def close(self) -> None:
        """End whatever still runs."""
        ...
