"""Hydra's launcher for Ray with a hold on each job: Ray can end one, which a launcher cannot."""

from __future__ import annotations

from threading import Timer
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn
from omegaconf import open_dict

from explr.runner.any_launcher import LauncherExecutor
from explr.tuning.executor import Executor
from explr.tuning.trial import Job

SHUTDOWN_S = 10.0
"""Seconds that jobs which are ended from outside get to do so."""


class RayLauncherExecutor(LauncherExecutor):
    """See `LauncherExecutor`."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._references: dict[int, Any] = {}
        self._timers: list[Timer] = []

    def stop(self, job: Job, grace_s: float) -> None:
        """See `Executor.stop`; the job is interrupted first, as by Ctrl-C."""
        self._cancel(job.key, force=False)
        timer = Timer(grace_s, self._cancel, (job.key, True))
        timer.daemon = True
        timer.start()
        self._timers.append(timer)

    def close(self) -> None:
        """See `LauncherExecutor.close`."""
        for timer in self._timers:
            timer.cancel()
        if self._threads:
            import ray

            for key in list(self._references):
                self._cancel(key, force=True)
            # Ray ends the whole process if a thread asks for its job once Ray is gone.
            for thread in self._threads.values():
                thread.join(SHUTDOWN_S)
            ray.shutdown()
        super().close()

    def _launched(self, job: Job, overrides: list[str], number: int) -> JobReturn:
        """What Hydra's launcher does, except that it would keep the reference to itself."""
        import ray
        from hydra_plugins.hydra_ray_launcher._launcher_util import launch_job_on_ray

        launcher: Any = self._launcher()
        context = launcher.hydra_context
        config = context.config_loader.load_sweep_config(launcher.config, overrides)
        with open_dict(config):
            config.hydra.job.id = f"job_id_for_{number}"
            config.hydra.job.num = number
        self._references[job.key] = launch_job_on_ray(
            context,
            launcher.ray_cfg.remote,
            config,
            launcher.task_function,
            Singleton.get_state(),
        )
        try:
            returned: JobReturn = ray.get(self._references[job.key])
        finally:
            del self._references[job.key]
        return returned

    def _cancel(self, key: int, force: bool) -> None:
        import ray

        reference = self._references.get(key)
        if reference is not None:  # else it has not begun, or is over
            ray.cancel(reference, force=force)


def _conforms(executor: RayLauncherExecutor) -> Executor:
    return executor
