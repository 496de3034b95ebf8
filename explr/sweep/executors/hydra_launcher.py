"""Executors for Hydra's launchers; the one for Ray's launcher can also stop jobs."""

from __future__ import annotations

import logging
import os
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from importlib import import_module
from queue import Empty, SimpleQueue
from threading import Timer
from typing import Any

import psutil
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from omegaconf import OmegaConf, open_dict

from explr.config.grammar import quoted
from explr.config.hydra_private import start_on_ray
from explr.core.errors import described
from explr.sweep.executors.kind import ExecutorKind, JobOf, Launching, OutputOf, Place
from explr.sweep.executors.outcome import judge
from explr.tuning.channel import ChannelServer, Report
from explr.tuning.executor import Executor
from explr.tuning.feasibility.failure import Failure
from explr.tuning.trial import Job, Outcome
from explr.utils.settings import check_home

log = logging.getLogger("explr.sweep")

ADDRESS = "ray.init.address"
"""Key of the cluster's address in the config of Ray's launcher."""

SHUTDOWN_S = 10.0
"""Seconds to wait for stopped jobs to end."""


class LauncherExecutor:
    """Runs jobs with any Hydra launcher, one job per thread.

    Args:
        launcher: creates a launcher; called for each job.
        job_of: turns a trial's job into Hydra's.
        slots: jobs at the same time.
        channel: where jobs report.
        objectives: number of values that a job must return.
    """

    def __init__(
        self,
        launcher: Callable[[], Launcher],
        job_of: JobOf,
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
        # A daemon: a job that does not end must not block the controller's exit.
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

    def stop(self, job: Job, grace_s: float, patience_s: float = 0.0) -> None:
        """See `Executor.stop`; a Hydra launcher cannot stop a job between reports."""

    def close(self) -> None:
        """Kill the launcher's processes on this machine whose jobs did not end.

        Jobs on other machines end with their next report, because the controller is gone.
        """
        if self._threads:
            session = os.getsid(0)  # companions have another session
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
            reason = described(error).splitlines()[0]
            detail = traceback.format_exc()
            return Outcome("FAIL", (), reason, Failure.WORKER_LOST, died=True, detail=detail)
        return judge(returned, self._objectives)

    def _launched(self, job: Job, overrides: list[str], number: int) -> JobReturn:
        """Run a job with the launcher, and wait for its result."""
        (returned,) = self._launcher().launch([overrides], initial_job_idx=number)
        return returned


class RayLauncherExecutor(LauncherExecutor):
    """Hydra's launcher for Ray, with a reference to each job, so that it can be stopped."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._references: dict[int, Any] = {}
        self._timers: list[Timer] = []

    def stop(self, job: Job, grace_s: float, patience_s: float = 0.0) -> None:
        """See `Executor.stop`."""
        for after_s, force in ((patience_s, False), (patience_s + grace_s, True)):
            timer = Timer(after_s, self._cancel, (job.key, force))
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
            # Ray kills this process if a thread asks for its job after the shutdown.
            for thread in self._threads.values():
                thread.join(SHUTDOWN_S)
            ray.shutdown()
        super().close()

    def _launched(self, job: Job, overrides: list[str], number: int) -> JobReturn:
        """The same as Hydra's launcher, but keeps the reference to the job."""
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
        if reference is not None:  # else it has not started, or has ended
            ray.cancel(reference, force=force)


class LauncherKind(ExecutorKind):
    """Any launcher of Hydra's, which may run jobs on other machines."""

    timeout_caveat = (
        "with this launcher a trial that exceeds tuner.trial_timeout_s ends with its next report, "
        "and not before"
    )
    made: type[LauncherExecutor] = LauncherExecutor

    def place(self, launcher: Any) -> Place:
        """See `ExecutorKind.place`."""
        return Place.ANYWHERE

    def slots(self, launcher: Any, n_jobs: int) -> int:
        """How many jobs may run at once; also does set-up that is not thread-safe.

        Args:
            launcher: the node `hydra.launcher`.
            n_jobs: jobs at the same time, as configured.
        """
        return n_jobs

    @contextmanager
    def executor(
        self, launching: Launching, job_of: JobOf, report: Report, output_of: OutputOf
    ) -> Iterator[Executor]:
        """See `ExecutorKind.executor`."""

        def launcher() -> Launcher:
            return Plugins.instance().instantiate_launcher(
                config=launching.config,
                hydra_context=launching.context,
                task_function=launching.task,
            )

        slots = self.slots(launching.launcher, launching.n_jobs)
        if slots < launching.n_jobs:
            log.warning("this launcher runs %d of %d trials at a time", slots, launching.n_jobs)
        host = self.listening_host(launching.launcher)
        with (
            closing(ChannelServer(report, host, launching.metric, launching.missed)) as channel,
            closing(self.made(launcher, job_of, slots, channel, launching.objectives)) as executor,
        ):
            yield executor


class JoblibKind(LauncherKind):
    """The launcher of joblib, which runs jobs on this machine."""

    def place(self, launcher: Any) -> Place:
        """See `ExecutorKind.place`."""
        return Place.MACHINE

    def slots(self, launcher: Any, n_jobs: int) -> int:
        """See `LauncherKind.slots`."""
        joblib: Any = import_module("joblib")
        return int(min(n_jobs, joblib.effective_n_jobs(launcher.n_jobs)))


class RayKind(LauncherKind):
    """The launcher of Ray: on this machine, or on the cluster with the given address."""

    timeout_caveat = ""
    made = RayLauncherExecutor

    def place(self, launcher: Any) -> Place:
        """See `ExecutorKind.place`."""
        return Place.ANYWHERE if OmegaConf.select(launcher, ADDRESS) else Place.MACHINE

    def slots(self, launcher: Any, n_jobs: int) -> int:
        """See `LauncherKind.slots`; starts Ray, or joins it.

        Raises:
            UsageError: Ray needs a home folder.
        """
        check_home("hydra/launcher=ray")
        ray: Any = import_module("ray")
        if not ray.is_initialized():
            settings: Any = OmegaConf.to_container(launcher.ray.init, resolve=True)
            # Named, as in `place`: else Ray joins what RAY_ADDRESS names, or a cluster that runs
            # here, whose other machines could not report.
            ray.init(**{**settings, "address": settings.get("address") or "local"})
        each = OmegaConf.select(launcher, "ray.remote.num_cpus", default=1)
        if not each:
            return n_jobs
        return max(1, min(n_jobs, int(ray.cluster_resources().get("CPU", n_jobs) / each)))
