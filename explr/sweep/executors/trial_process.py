"""Code that runs in trial processes, and in the fork server."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from explr.config.defaults import bundled_defaults
from explr.config.nodes import is_own_tree
from explr.core.config import ExplrConfig, MLflowConfig
from explr.core.errors import UsageError
from explr.core.signals import check_stopped
from explr.launching.hydra_job import HydraJob, HydraTask
from explr.runner.prepare import check_target, framework_of, given_to
from explr.runner.task import train_job
from explr.sweep.executors.outcome import judge, unjudged
from explr.tracking.provenance import provenance_tags
from explr.tuning.trial import Outcome
from explr.utils.processes import identity_of


@dataclass(frozen=True)
class RunTrial:
    """Runs a job in this process and returns its outcome; it is sent to the fork server.

    Args:
        task: what all jobs share.
        objectives: number of values that a job must return.
    """

    task: HydraTask
    objectives: int

    def __call__(self, job: HydraJob) -> Outcome:
        """Run a job; an exception of the task becomes an outcome."""
        try:
            returned = self.task.run(job, own_process=True)
            check_stopped()
            return judge(returned, self.objectives)
        except BaseException as error:  # noqa: BLE001 - it is the outcome
            return unjudged(error)


@dataclass(frozen=True)
class Prepare:
    """Prepares the fork server, and checks what the controller does not import."""

    task: HydraTask

    def __call__(self) -> None:
        """Copy the controller's Hydra state; import the training function.

        Raises:
            UsageError: the training function is not found, or cannot be called.
        """
        self.task.adopt()
        if self.task.task is train_job:
            check_target(self.task.config)
        if is_own_tree(self.task.config):
            # A trial may override what is wrong; otherwise it reports it.
            with suppress(UsageError):
                self._look_ahead()

    def _look_ahead(self) -> None:
        """Import and look up what every training needs."""
        import explr.results.table  # noqa: F401 - it ends with a line

        config = ExplrConfig.from_composed(self.task.config)
        framework_of(self.task.config, given_to(self.task.task))
        if isinstance(config.tracking, MLflowConfig):
            bundled_defaults()
            provenance_tags()
            identity_of()
