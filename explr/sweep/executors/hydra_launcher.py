"""Hydra's launcher for Ray with a hold on each job: Ray can end one, which a launcher cannot."""

from __future__ import annotations

import logging
import os
import socket
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from queue import Empty, SimpleQueue
from threading import Timer
from typing import Any

import psutil
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from omegaconf import OmegaConf, open_dict

from explr.config.grammar import quoted
from explr.config.hydra_private import start_on_ray
from explr.launching.hydra_job import HydraJob
from explr.sweep.executors.outcome import judge
from explr.tuning.channel import ChannelServer
from explr.tuning.executor import Executor
from explr.tuning.trial import Job, Outcome
from explr.utils.lease import Lease

log = logging.getLogger("explr.sweep")

JOBLIB = "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"
RAY = "hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher"


class LauncherExecutor:
    """Any launcher of Hydra's, given one job at a time from as many threads as there are slots.

    Args:
        launcher: makes a launcher that is set up; called once a job.
        job_of: turns a trial's job into Hydra's.
        slots: jobs at the same time.
        channel: where jobs report.
        objectives: number of values that a job must return.
    """

    def __init__(
        self,
        launcher: Callable[[], Launcher],
        job_of: Callable[[Job, Lease | None], HydraJob],
        slots: int,
        channel: ChannelServer,
        objectives: int,
    ) -> None:
        self._launcher = launcher
        self._job_of = job_of
        self.slots = slots
        self._channel = channel
        self._objectives = objectives
        self._threads: dict[int, threading.Thread] = {}
        self._ended: SimpleQueue[tuple[Job, Outcome]] = SimpleQueue()

    def start(self, job: Job) -> None:
        """See `Executor.start`."""
        # A daemon: a job that does not end must not keep the controller from ending.
        thread = self._threads[job.key] = threading.Thread(
            target=lambda: self._ended.put((job, self._launch(job))),
            name=f"explr-launch-{job.key}",
            daemon=True,
        )
        thread.start()

    def wait(self, timeout_s: float | None) -> list[tuple[Job, Outcome]]:
        """See `Executor.wait`."""
        ended = []
        with suppress(Empty):
            ended.append(self._ended.get(timeout=timeout_s))
            while True:
                ended.append(self._ended.get_nowait())
        for job, _ in ended:
            del self._threads[job.key]
        return ended

    def stop(self, job: Job, grace_s: float) -> None:
        """See `Executor.stop`; a launcher of Hydra's gives no way to end a job between reports."""

    def close(self) -> None:
        """End the processes that a launcher has here for jobs that did not end.

        Those on other machines end with their next report, which finds nobody.
        """
        if self._threads:
            session = os.getsid(0)  # what follows the controller on purpose has one of its own
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.NoSuchProcess, ProcessLookupError):
                    if os.getsid(process.pid) == session:
                        process.kill()

    def _launch(self, job: Job) -> Outcome:
        try:
            hydra_job = self._job_of(job, None)
            variables = [
                f"++hydra.job.env_set.{name}={quoted(text)}"
                for name, text in self._channel.reference(job.key).items()
            ]
            returned = self._launched(job, [*hydra_job.overrides, *variables], hydra_job.number)
        except BaseException as error:  # noqa: BLE001 - one job's trouble stays that job's
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            return Outcome("FAIL", reason=reason, died=True, detail=traceback.format_exc())
        return judge(returned, self._objectives)

    def _launched(self, job: Job, overrides: list[str], number: int) -> JobReturn:
        """Have the launcher run a job, and wait for what comes of it."""
        (returned,) = self._launcher().launch([overrides], initial_job_idx=number)
        return returned


def listening_host(config: Any) -> str | None:
    """Where to listen for the reports of a launcher's jobs; None if they run on this machine.

    Args:
        config: the `hydra.launcher` node.
    """
    local_ray = config._target_ == RAY and not OmegaConf.select(config, "ray.init.address")
    if config._target_ == JOBLIB or local_ray:
        return None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: it picks the way out of this machine
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def make_ready(config: Any, n_jobs: int) -> int:
    """Set up what several threads must not set up at once; how many jobs may run at once.

    Args:
        config: the `hydra.launcher` node.
        n_jobs: trials at the same time, as the user wants it.
    """
    slots = n_jobs
    if config._target_ == RAY:
        ray: Any = import_module("ray")
        if not ray.is_initialized():
            settings: Any = OmegaConf.to_container(config.ray.init, resolve=True)
            # Named, as in `listening_host`: else Ray joins what RAY_ADDRESS names, or a cluster
            # that runs here, whose other machines could not report.
            ray.init(**{**settings, "address": settings.get("address") or "local"})
        each = OmegaConf.select(config, "ray.remote.num_cpus", default=1)
        if each:
            slots = max(1, min(n_jobs, int(ray.cluster_resources().get("CPU", n_jobs) / each)))
    elif config._target_ == JOBLIB:
        joblib: Any = import_module("joblib")
        slots = min(n_jobs, joblib.effective_n_jobs(config.n_jobs))
    if slots < n_jobs:
        log.warning("this launcher runs %d of %d trials at a time", slots, n_jobs)
    return slots


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

        launcher: Any = self._launcher()
        config = launcher.hydra_context.config_loader.load_sweep_config(launcher.config, overrides)
        with open_dict(config):
            config.hydra.job.id = f"job_id_for_{number}"
            config.hydra.job.num = number
        self._references[job.key] = start_on_ray(launcher, config)
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


def _conforms(one: LauncherExecutor, two: RayLauncherExecutor) -> list[Executor]:
    return [one, two]
