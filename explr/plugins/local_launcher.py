"""`hydra/launcher=explr_local`: each job in a fresh process that starts in milliseconds."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus, filter_overrides
from hydra.errors import ConfigCompositionException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from explr.config.hydra_private import below_run_job, value_of

if TYPE_CHECKING:
    from explr.launching.hydra_job import HydraJob
    from explr.launching.pool import Answer
    from explr.utils.lease import Lease

log = logging.getLogger(__name__)


class LocalLauncher(Launcher):
    """Runs the jobs of any sweeper of Hydra's on this machine.

    Args:
        n_jobs: jobs at the same time; as with joblib's launcher, -1 is one for each CPU, -2 one
            less, and so on.
        preload: modules that jobs need and that take long to import.
        others: settings of another launcher, for which the app's config was written; left out.
    """

    def __init__(self, n_jobs: int = 1, preload: Sequence[str] = (), **others: Any) -> None:
        self._n_jobs = n_jobs
        self._others = list(others)
        self._preload = list(preload)

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take in what Hydra composed.

        Raises:
            ConfigCompositionException: `n_jobs` is no number of jobs.
        """
        from explr.sweep.executors.explr_local import tell_left_out

        count = self._n_jobs
        if not isinstance(count, int) or isinstance(count, bool) or count == 0:
            raise ConfigCompositionException(
                "hydra.launcher.n_jobs must be a whole number from 1 on, or -1 for one job for "
                f"each CPU, got {count!r}"
            )
        if count < 0:
            self._n_jobs = max(1, len(os.sched_getaffinity(0)) + 1 + count)
        tell_left_out(self._others)
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
        from explr.launching.job_record import record_job, run_job, this_command
        from explr.launching.pool import LocalPool
        from explr.runner.grid_tally import gathered
        from explr.sweep.executors.leases import leases_for
        from explr.tracking.callback import OWN_TASK

        task = HydraTask(self._config, self._context, self._task)
        leases = leases_for(self._config, self._n_jobs)
        waiting = [
            HydraJob(initial_job_idx + i, list(overrides))
            for i, overrides in enumerate(job_overrides)
        ]
        log.info("Launching %d jobs locally", len(waiting))
        returns: dict[int, JobReturn] = {}
        held: dict[int, tuple[HydraJob, Lease, float]] = {}
        sweep = Path(self._config.hydra.sweep.dir).absolute()
        sweep.mkdir(parents=True, exist_ok=True)  # sweepers write there, jobs need not
        command, grid = this_command(sweep), gathered()
        with LocalPool(partial(run_job, task), self._preload, task.adopt, task.warm_up) as pool:
            while waiting or pool.running:
                while waiting and leases:
                    job, lease = waiting.pop(0), leases.pop()
                    log.info("\t#%d : %s", job.number, " ".join(filter_overrides(job.overrides)))
                    held[job.number] = job, lease, time.monotonic()
                    job.overrides.extend(f"++{key}={one}" for key, one in lease.settings.items())
                    pool.start(job.number, job, environment=lease.environment)
                for answer in pool.wait(None):
                    job, lease, begun_s = held.pop(answer.key)
                    leases.append(lease)
                    returned = returns[job.number] = _returned(job, answer)
                    cfg = returned.hydra_cfg
                    folder = Path(cfg.hydra.runtime.output_dir) if cfg else task.folder_of(job)
                    if grid is not None:
                        grid.elsewhere.append(folder)
                    if not getattr(self._task, OWN_TASK, False):  # else it has its result.json
                        took_s = time.monotonic() - begun_s
                        record_job(sweep, folder, job.number, returned, took_s, command)
        return [returns[number] for number in sorted(returns)]


def _returned(job: HydraJob, answer: Answer) -> JobReturn:
    """What came of a job; of an exception, Hydra prints the frames that are the user's."""
    result: JobReturn | None = answer.value
    if result is None:
        result = JobReturn(filter_overrides(job.overrides), status=JobStatus.FAILED)
        result.return_value = answer.error
    error = value_of(result)
    if result.status is JobStatus.FAILED and isinstance(error, BaseException):
        error.__traceback__ = below_run_job(error.__traceback__)
    return result
