"""explr through its own sweep loop, study and config groups; a table answers for the training."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from simulation import BudgetSpentError, Progress, Task, Workers

from explr import compose
from explr.sweep.sweep import OptunaBackend
from explr.tuning.loop import SweepLoop
from explr.tuning.search_space import parse
from explr.tuning.study import Study
from explr.tuning.trial import Job, Outcome
from explr.tuning.trial_account import Limits


def search(task: Task, overrides: Sequence[str], seed: int, workers: int) -> Progress:
    """Search until the budget is spent.

    Args:
        task: what is trained.
        overrides: settings of explr's command line; none is the default of `tuner=optuna`.
        seed: seed of the sampler.
        workers: number of workers.
    """
    tuner = compose(["tuner=optuna", f"seed={seed}", *overrides]).tuner
    space, _ = parse(task.ranges)
    pool = Workers(task, workers)
    with tempfile.TemporaryDirectory(prefix="explr-bench-") as folder:
        # Hyperband draws a trial's bracket by the study's name.
        study = Study(Path(folder), f"bench-{seed}", ["minimize"])
        equip(study, tuner, space)
        loop = SweepLoop(study, lambda values: space, Limits(10**6), clock=lambda: pool.now)
        try:
            loop.run(TableExecutor(pool, loop))
        except BudgetSpentError:
            return pool.progress
    raise AssertionError("a sweep ended before its budget")


def equip(study: Study, tuner: Any, space: Any) -> None:
    """Give a study the sampler and the pruner of a composed `tuner` node, as a sweep does."""
    settings: Any = SimpleNamespace(
        sampler=dict(tuner.sampler), pruner=dict(tuner.pruner), constraints={}
    )
    OptunaBackend().equip(study, settings, space)


class TableExecutor:
    """Runs jobs on a simulated clock.

    Args:
        pool: the workers.
        loop: takes the reports.
    """

    def __init__(self, pool: Workers, loop: SweepLoop) -> None:
        self.slots = pool.count
        self._pool = pool
        self._loop = loop
        self._jobs: dict[int, Job] = {}
        self._stopped: list[Job] = []

    def start(self, job: Job) -> None:
        """See `Executor.start`."""
        self._jobs[job.key] = job
        self._pool.start(job.key, job.params)

    def wait(self, timeout_s: float | None) -> list[tuple[Job, Outcome]]:
        """See `Executor.wait`."""
        while not self._stopped:
            epoch = self._pool.next_end()
            # explr's steps count from 0.
            pruned = self._loop.report(epoch.key, epoch.number - 1, epoch.error)
            if pruned:
                return [(self._jobs.pop(epoch.key), Outcome("PRUNED"))]
            if epoch.last:
                return [(self._jobs.pop(epoch.key), Outcome("COMPLETE", (epoch.error,)))]
            self._pool.go_on(epoch.key)
        stopped, self._stopped = self._stopped, []
        return [(job, Outcome("RUNNING")) for job in stopped]

    def stop(self, job: Job, grace_s: float, patience_s: float = 0.0) -> None:
        """See `Executor.stop`; only the end of the budget stops jobs."""
        self._stopped.append(job)

    def close(self) -> None:
        """See `Executor.close`."""
