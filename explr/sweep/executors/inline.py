"""Every job in the controller's own process."""

from __future__ import annotations

from collections.abc import Callable

from explr.launching.hydra_job import HydraTask
from explr.runner.reporting import reporting_to
from explr.sweep.executors.local import JobOf
from explr.sweep.executors.outcome import judge, unjudged
from explr.sweep.executors.trial_process import RunTrial
from explr.tuning.executor import Executor
from explr.tuning.trial import Job, Outcome


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


def _conforms(executor: InlineExecutor) -> Executor:
    return executor
