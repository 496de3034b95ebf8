"""`hydra/launcher=explr_local`: each job in a fresh process that starts in milliseconds."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, filter_overrides
from hydra.errors import ConfigCompositionException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

log = logging.getLogger(__name__)


class LocalLauncher(Launcher):
    """Runs the jobs of any sweeper of Hydra's on this machine.

    Args:
        n_jobs: jobs at the same time.
        preload: modules that jobs need and that take long to import.
    """

    def __init__(self, n_jobs: int = 1, preload: Sequence[str] = ()) -> None:
        self._n_jobs = n_jobs
        self._preload = list(preload)

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take in what Hydra composed.

        Raises:
            ConfigCompositionException: `n_jobs` is no number of jobs.
        """
        count = self._n_jobs
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise ConfigCompositionException(
                f"hydra.launcher.n_jobs must be a whole number from 1 on, got {count!r}"
            )
        self._context = hydra_context
        self._task = task_function
        self._config = config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run jobs, `n_jobs` at a time.

        Args:
            job_overrides: the overrides of each job.
            initial_job_idx: number of the first.

        Returns:
            What came of each, in their order; a job whose process died has failed.
        """
        from explr.launching.hydra_job import HydraJob, HydraTask
        from explr.launching.pool import LocalPool
        from explr.sweep.executors.leases import leases_for

        task = HydraTask(self._config, self._context, self._task)
        leases = leases_for(self._config, self._n_jobs)
        waiting = [
            HydraJob(initial_job_idx + i, list(overrides))
            for i, overrides in enumerate(job_overrides)
        ]
        returns: dict[int, JobReturn] = {}
        held: dict[int, Any] = {}
        with LocalPool(task.run, self._preload, task.adopt, task.warm_up) as pool:
            while waiting or pool.running:
                while waiting and leases:
                    job, lease = waiting.pop(0), leases.pop()
                    log.info("\t#%d : %s", job.number, " ".join(filter_overrides(job.overrides)))
                    held[job.number] = lease
                    job.overrides.extend(f"++{key}={one}" for key, one in lease.settings.items())
                    pool.start(job.number, job, environment=lease.environment)
                for answer in pool.wait(None):
                    leases.append(held.pop(answer.key))
                    returns[answer.key] = answer.value or _failed(answer.error)
        return [returns[number] for number in sorted(returns)]


def _failed(error: BaseException | None) -> JobReturn:
    result = JobReturn(status=JobStatus.FAILED)
    result.return_value = error
    return result
