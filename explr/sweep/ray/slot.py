"""One slot of a sweep on Ray: runs trials one after the other, each in a fresh process.

Ray's actor stays, and the process that trials are forked from is shared by the slots of a node; so
an actor is reused without anything of one trial reaching the next. A report waits in the slot for
what Ray's scheduler makes of it, as `ray.tune.report` does.
"""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from multiprocessing import Pipe
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from explr.core.errors import ExplrError
from explr.launching.hydra_job import HydraJob, HydraTask
from explr.launching.pool import Answer, LocalPool, WorkerDied
from explr.sweep.executors.trial_process import Prepare, RunTrial
from explr.tuning.channel import ChannelServer
from explr.tuning.trial import Job, Outcome

DEVICES = "CUDA_VISIBLE_DEVICES"
"""The variable by which Ray gives each actor its GPUs."""

GRACE_S = 5.0
"""Seconds that a trial which Ray has ended gets to end by itself."""


@dataclass(frozen=True)
class Work:
    """What the slots of a sweep need to run its trials; travels to other machines.

    Args:
        task: what all jobs share.
        job_of: turns a trial's job into Hydra's.
        folder: folder of the sweep.
        preload: modules to import before the first trial.
        objectives: values that a trial must return.
        replicates: trainings of each trial, one after the other.
        retries: how often a trial whose process died is tried again.
        trial_timeout_s: a training ends after this many seconds; None sets no limit.
        environment: variables for the trials.
        token: names the sweep's processes on a machine.
    """

    task: HydraTask
    job_of: Callable[[Job], HydraJob]
    folder: Path
    preload: list[str]
    objectives: int
    replicates: int
    retries: int
    trial_timeout_s: float | None
    environment: Mapping[str, str]
    token: str

    def folder_of(self, trial: int, replicate: int = 0) -> Path:
        """Folder of a training."""
        folder = self.folder / str(trial)
        return folder / str(replicate) if self.replicates > 1 else folder


@dataclass(frozen=True)
class Report:
    """An intermediate value; the trial waits until it is told to go on or to end.

    Args:
        step: step of the training.
        value: the objective at that step.
        deaths: why processes of the trial ended before, each of which was replaced.
    """

    step: int
    value: float
    deaths: tuple[str, ...]


@dataclass(frozen=True)
class End:
    """A trial came to its end.

    Args:
        outcome: how.
        deaths: why processes of the trial ended before, each of which was replaced.
    """

    outcome: Outcome
    deaths: tuple[str, ...]


class Slot:
    """Runs one trial at a time.

    Args:
        work: what the trials are made of.
        node: the node of Ray that it is on.

    Raises:
        ExplrError: the process that trials are forked from does not start.
    """

    def __init__(self, work: Work, node: str) -> None:
        self._work = work
        # Of this slot alone; the process that trials are forked from has those of another slot.
        self._devices = {DEVICES: os.environ[DEVICES]} if DEVICES in os.environ else {}
        self._reports: SimpleQueue[Report] = SimpleQueue()
        self._answers: SimpleQueue[bool] = SimpleQueue()
        self._woken, self._wake = Pipe(duplex=False)
        self._held = False
        self._job: Job | None = None
        self._begun_at = 0.0
        self._timed_out = False
        self._deaths: tuple[str, ...] = ()
        self._values: list[tuple[float, ...]] = []
        self._seen: dict[int, dict[int, float]] = {}
        self._channel = ChannelServer(self._take)
        try:
            self._pool = LocalPool(
                RunTrial(work.task, work.objectives),
                work.preload,
                Prepare(work.task),
                shared=f"{work.token}-{node}",
            )
        except BaseException:
            self._channel.close()
            raise

    @property
    def busy(self) -> bool:
        """Whether a trial runs."""
        return self._job is not None

    @property
    def folder(self) -> Path:
        """Folder of the training that runs."""
        assert self._job is not None
        return self._work.folder_of(self._job.trial, self._job.replicate)

    def begin(self, number: int, params: dict[str, Any]) -> None:
        """Begin a trial.

        Args:
            number: number of the trial.
            params: values by parameter.
        """
        self._deaths = ()
        self._values, self._seen = [], {}
        self._start(Job(number, 0, self._work.replicates, 0, params))

    def next(self) -> Report | End:
        """Let the trial go on until it reports or ends."""
        self._answer(end=False)
        while True:
            if not self._reports.empty():
                self._held = True
                return self._reports.get()
            limit = self._work.trial_timeout_s
            left = None
            if limit is not None and not self._timed_out:
                left = max(0.0, self._begun_at + limit - time.monotonic())
            for answer in self._pool.wait(left, wake=self._woken):
                if (end := self._ended(answer)) is not None:
                    return end
            while self._woken.poll():
                self._woken.recv_bytes()
            if left is not None and time.monotonic() - self._begun_at >= (limit or 0):
                self._timed_out = True
                self._stop(GRACE_S)

    def end(self, prune: bool = False) -> None:
        """End the trial that runs, if one does.

        Args:
            prune: answer the report that it waits for, so that it ends as pruned; otherwise it is
                stopped, and may go on later.
        """
        if self._job is None:
            return
        deadline = time.monotonic() + GRACE_S
        if prune and self._held:
            self._answer(end=True)
        else:
            self._stop(GRACE_S)
        while self._pool.running:
            if self._pool.wait(max(0.0, deadline - time.monotonic())):
                break
            self._stop(GRACE_S)
            deadline = time.monotonic() + 2 * GRACE_S
        self._job = None

    def close(self) -> None:
        """End whatever runs."""
        self.end()
        self._pool.close()
        self._channel.close()

    def _start(self, job: Job) -> None:
        self._job = job
        self._reports, self._answers, self._held = SimpleQueue(), SimpleQueue(), False
        self._begun_at, self._timed_out = time.monotonic(), False
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

    def _stop(self, grace_s: float) -> None:
        assert self._job is not None
        self._pool.stop(self._job.key, grace_s)

    def _answer(self, end: bool) -> None:
        if self._held:
            self._held = False
            self._answers.put(end)

    def _take(self, key: int, step: int, value: float) -> bool:
        """Hold a report until the scheduler has looked at it; called on the channel's threads.

        Raises:
            ValueError: the value is NaN.
            ExplrError: it comes from a training that was ended.
        """
        if math.isnan(value):
            raise ValueError(f"the objective is NaN at step {step}")
        job, answers = self._job, self._answers
        if job is None or job.key != key:
            raise ExplrError("this trial is to end")
        seen = self._seen.setdefault(step, {})
        seen[job.replicate] = value
        if len(seen) < self._work.replicates:
            return False
        self._reports.put(Report(step, statistics.fmean(seen.values()), self._deaths))
        self._wake.send_bytes(b".")
        return answers.get()

    def _ended(self, answer: Answer) -> End | None:
        """What became of the trial; None if it goes on."""
        job = self._job
        assert job is not None
        self._answers.put(True)  # a report that nobody took holds no thread
        outcome = self._outcome(answer)
        if outcome.died and len(self._deaths) < self._work.retries:
            self._deaths += (outcome.reason,)
            self._start(job)
            return None
        if outcome.state == "COMPLETE":
            self._values.append(outcome.values)
            if job.replicate + 1 < job.replicates:
                self._start(replace(job, replicate=job.replicate + 1))
                return None
            means = [statistics.fmean(v) for v in zip(*self._values, strict=True)]
            outcome = Outcome("COMPLETE", tuple(means))
        self._job = None
        return End(outcome, self._deaths)

    def _outcome(self, answer: Answer) -> Outcome:
        if self._timed_out:
            return Outcome("FAIL", reason=f"timeout after {self._work.trial_timeout_s:g} s")
        if answer.error is not None:
            died = isinstance(answer.error, WorkerDied)
            return Outcome("FAIL", reason=str(answer.error), died=died)
        assert isinstance(answer.value, Outcome)
        if answer.value.state == "RUNNING":  # somebody else ended its process
            return replace(answer.value, state="FAIL", died=True)
        return answer.value
