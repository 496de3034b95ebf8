"""Runs the trials of a Ray actor one after the other, each in a fresh process.

An actor runs many trials, but no state passes from one to the next: each is forked from a process
that the actors of a node share. A report waits here until Ray's scheduler has decided on it, as in
`ray.tune.report`.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import Pipe
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from explr.core.errors import JobStopped
from explr.launching.hydra_job import HydraJob, HydraTask
from explr.launching.pool import Answer, LocalPool
from explr.sweep.executors.outcome import outcome_of
from explr.sweep.executors.trial_process import Prepare, RunTrial
from explr.sweep.ray.messages import Ended, Reported
from explr.sweep.replicates import ReplicateFile
from explr.tuning.channel import ChannelServer
from explr.tuning.trial import Job
from explr.tuning.trial_account import Limits, TrialAccount
from explr.utils.host import kills_for_memory

DEVICES = "CUDA_VISIBLE_DEVICES"
"""The environment variable in which Ray gives each actor its GPUs."""

TRIAL_GRACE_S = 5.0
"""Seconds between stopping a trial and killing it."""


@dataclass(frozen=True)
class Work:
    """What actors need to run the trials of a sweep; it is sent to other machines.

    Args:
        task: what all jobs share.
        job_of: turns a trial's job into Hydra's.
        folder: folder of the sweep.
        preload: modules to import before the first trial.
        objectives: number of values that a trial must return.
        limits: replicates, retries and the time limit of a training.
        environment: environment variables of the trials.
        token: identifies the sweep's processes on a machine.
        prunes: whether anything decides on pruning, and may note that a trial is to end.
        reports: what trials reported under earlier controllers, by trial and step.
        metric: name of the metric that trials of another app report; None takes the first one.
    """

    task: HydraTask
    job_of: Callable[[Job], HydraJob]
    folder: Path
    preload: list[str]
    objectives: int
    limits: Limits
    environment: Mapping[str, str]
    token: str
    prunes: bool
    reports: Mapping[int, Mapping[int, float]] = field(default_factory=dict)
    metric: str | None = None

    def folder_of(self, trial: int, replicate: int = 0) -> Path:
        """Folder of a training."""
        folder = self.folder / str(trial)
        return folder / str(replicate) if self.limits.replicates > 1 else folder

    def pool(self, node: str) -> LocalPool:
        """Start the process that trials are forked from, or join the one of this node.

        Args:
            node: the ID of this Ray node.

        Raises:
            ExplrError: the process does not start.
        """
        return LocalPool(
            RunTrial(self.task, self.objectives),
            self.preload,
            Prepare(self.task),
            shared=f"{self.token}-{node}",
        )


class Slot:
    """Runs one trial at a time.

    Args:
        work: what all trials have in common.
        pool: runs their processes.
    """

    def __init__(self, work: Work, pool: LocalPool) -> None:
        self._work = work
        self._pool = pool
        # Set for each trial: the process that trials are forked from may have another actor's GPUs.
        self._devices = {DEVICES: os.environ[DEVICES]} if DEVICES in os.environ else {}
        self._reports: SimpleQueue[Reported] = SimpleQueue()
        self._answers: SimpleQueue[bool | None] = SimpleQueue()
        self._woken, self._wake = Pipe(duplex=False)
        self._held = self._stopping = False
        self._job: Job | None = None
        self._replicates: deque[Job] = deque()
        self.last_step = -1
        """The last step that the trial reported."""
        self._turn = threading.Lock()
        """Held by the one report that waits: a training may have threads and helper processes."""
        self._missed: tuple[str, ...] = ()
        self._channel = ChannelServer(self._take, None, work.metric, self._note_missed)

    @property
    def folder(self) -> Path | None:
        """Folder of the running training; None if none runs."""
        job = self._job
        return None if job is None else self._work.folder_of(job.trial, job.replicate)

    def begin(self, number: int, params: dict[str, Any]) -> None:
        """Start a trial; its replicates run one after the other.

        Args:
            number: number of the trial.
            params: values by parameter.
        """
        kept = ReplicateFile(self._work.folder / str(number))
        reports = self._work.reports.get(number)
        self._trial = TrialAccount(number, params, self._work.limits, kept=kept, reports=reports)
        self.last_step, self._missed = -1, ()
        self._replicates = deque(self._trial.jobs())
        self._start(self._replicates.popleft())

    @property
    def held(self) -> bool:
        """Whether the training waits for the answer to a report."""
        return self._held

    def next(self, prune: bool = False) -> Reported | Ended:
        """Let the trial continue until it reports or ends.

        Args:
            prune: answer its waiting report, so that it ends as pruned.
        """
        self._trial.prune = self._trial.prune or prune
        self._answer(end=self._trial.prune)
        while True:
            if not self._reports.empty():
                self._held = True
                report = self._reports.get()
                self.last_step = report.step
                return report
            for answer in self._pool.wait(self._trial.left_s, wake=self._woken):
                if (end := self._ended(answer)) is not None:
                    return end
            while self._woken.poll():
                self._woken.recv_bytes()
            for job in self._trial.overdue():
                self._pool.stop(job.key, TRIAL_GRACE_S)

    def end(self) -> None:
        """Stop the running trial, if there is one; it may be resumed later."""
        if (job := self._job) is None:
            return
        deadline = time.monotonic() + TRIAL_GRACE_S
        self._stopping = True
        self._answers.put(None)
        self._pool.stop(job.key, TRIAL_GRACE_S)
        while self._pool.running:
            if self._pool.wait(max(0.0, deadline - time.monotonic())):
                break
            self._pool.stop(job.key, TRIAL_GRACE_S)
            deadline = time.monotonic() + 2 * TRIAL_GRACE_S
        self._job = None

    def close(self) -> None:
        """Stop the running trial and release the processes."""
        self.end()
        self._pool.close()
        self._channel.close()

    def _start(self, job: Job) -> None:
        self._job = job
        self._reports, self._answers, self._held = SimpleQueue(), SimpleQueue(), False
        self._stopping = False
        self._trial.start(job)
        self._kills = kills_for_memory()
        self._pool.start(
            job.key,
            self._work.job_of(job),
            environment={
                **self._devices,
                **self._work.environment,
                **self._channel.variable(job.key),
            },
            output=self._work.folder_of(job.trial, job.replicate) / "output.log",
        )

    def _answer(self, end: bool) -> None:
        if self._held:
            self._held = False
            self._answers.put(end)

    def _take(self, key: int, step: int, value: float) -> bool:
        """Hold a report until the scheduler has decided; called on the channel's threads.

        Raises:
            DivergedError: the value is NaN.
            JobStopped: the training was stopped.
        """
        with self._turn:
            return self._held_until_answered(key, step, value)

    def _held_until_answered(self, key: int, step: int, value: float) -> bool:
        job, answers = self._job, self._answers
        if job is None or job.key != key or self._stopping:
            raise JobStopped("this trial must stop")
        mean = self._trial.report(job.replicate, step, value)
        if mean is None:
            return False
        self._reports.put(Reported(step, mean, self._trial.deaths))
        self._wake.send_bytes(b".")
        answer = answers.get()
        if answer is None:
            raise JobStopped("this trial must stop")
        return answer

    def _note_missed(self, key: int, names: Sequence[str]) -> None:
        self._missed = tuple(names)

    def _ended(self, answer: Answer) -> Ended | None:
        """How the trial ended; None if it continues with another job."""
        assert self._job is not None
        self._answers.put(True)  # releases the thread of an unread report
        ending = self._trial.end(self._job, outcome_of(answer, self._kills))
        if ending.result is not None:
            self._job = None
            return Ended(self.last_step + 1, ending.result, self._trial.deaths, self._missed)
        self._start(ending.again or self._replicates.popleft())
        return None
