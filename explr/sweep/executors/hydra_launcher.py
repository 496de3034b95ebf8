"""Executors behind launchers of Hydra's: any launcher, and Ray's, which can stop a job too."""

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
from explr.sweep.executors.kind import ExecutorKind, JobOf, Launching, OutputOf, Place
from explr.sweep.executors.outcome import judge
from explr.tuning.channel import ChannelServer, Report
from explr.tuning.executor import Executor
from explr.tuning.trial import Job, Outcome

log = logging.getLogger("explr.sweep")

ADDRESS = "ray.init.address"
"""Key of a cluster's address in the node of Ray's launcher."""

SHUTDOWN_S = 10.0
"""Seconds that jobs which are ended from outside get to do so."""


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


class RayLauncherExecutor(LauncherExecutor):
    """Hydra's launcher for Ray, with a reference to each job, so that it can be stopped."""

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
        """How many jobs may run at once; sets up what threads must not set up at the same time.

        Args:
            launcher: the node `hydra.launcher`.
            n_jobs: jobs at the same time, as the user wants it.
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
            closing(ChannelServer(report, host)) as channel,
            closing(self.made(launcher, job_of, slots, channel, launching.objectives)) as executor,
        ):
            yield executor


class JoblibKind(LauncherKind):
    """The launcher of joblib, whose processes are this machine's."""

    def place(self, launcher: Any) -> Place:
        """See `ExecutorKind.place`."""
        return Place.MACHINE

    def slots(self, launcher: Any, n_jobs: int) -> int:
        """See `LauncherKind.slots`."""
        joblib: Any = import_module("joblib")
        return int(min(n_jobs, joblib.effective_n_jobs(launcher.n_jobs)))


class RayKind(LauncherKind):
    """The launcher of Ray: on this machine, or on the cluster whose address it is given."""

    timeout_caveat = ""
    made = RayLauncherExecutor

    def place(self, launcher: Any) -> Place:
        """See `ExecutorKind.place`."""
        return Place.ANYWHERE if OmegaConf.select(launcher, ADDRESS) else Place.MACHINE

    def slots(self, launcher: Any, n_jobs: int) -> int:
        """See `LauncherKind.slots`; starts Ray, or joins it."""
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
