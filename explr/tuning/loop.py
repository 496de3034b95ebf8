"""Runs a sweep: ask, start, wait for the first job to end, tell, ask again.

No trial waits for another one. An `Executor` runs the jobs; the account decides what follows from
the end of a job.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from explr.core.errors import JobStopped
from explr.core.reporter import RepeatedSteps
from explr.tuning.account import SweepAccount, SweepListener
from explr.tuning.executor import Executor
from explr.tuning.search_space import SpaceOf
from explr.tuning.study import Study
from explr.tuning.trial import Job, Outcome
from explr.tuning.trial_account import KeptReplicates, Limits, TrialAccount

STOP_GRACE_S = 5.0
"""Seconds between interrupting a running job and killing it."""

STOP_PATIENCE_S = 2.0
"""Seconds in which the next report of a job may stop it, before it is interrupted."""


class SweepLoop:
    """Runs the trials of a sweep with an executor.

    Args:
        study: chooses parameters and stores results.
        space_of: the ranges that are active once some parameters are chosen.
        limits: stopping rules and failure tolerance.
        listener: receives the events of each job.
        clock: a monotonic clock in seconds.
        kept_of: keeps the finished replicates of the trial with a number.
    """

    def __init__(
        self,
        study: Study,
        space_of: SpaceOf,
        limits: Limits,
        listener: SweepListener | None = None,
        clock: Callable[[], float] = time.monotonic,
        kept_of: Callable[[int], KeptReplicates | None] = lambda number: None,
    ) -> None:
        self._account = SweepAccount(study, space_of, limits, clock=clock)
        self._limits = limits
        self._listener = listener or SweepListener()
        self._clock = clock
        self._kept_of = kept_of
        self._queue: deque[Job] = deque()
        self._running: list[Job] = []
        self._trials: dict[int, TrialAccount] = {}
        self._stopped: set[int] = set()
        self._reporting: set[int] = set()
        self._repeated = RepeatedSteps()

    @property
    def first_failure(self) -> Outcome | None:
        """How the first trial that failed did so."""
        return self._account.first_failure

    def run(self, executor: Executor) -> None:
        """Run until nothing is left to do.

        Args:
            executor: runs the jobs.

        Raises:
            KeyboardInterrupt: the sweep was interrupted; unfinished trials stay unfinished.
            SweepError: more trials failed than `max_failure_rate` allows.
        """
        self._executor = executor
        self._account.begin()
        try:
            while True:
                while self._has_room() and self._next():
                    self._start(self._queue.popleft())
                if not self._running:
                    return
                for job, outcome in executor.wait(self._patience()):
                    self._end(job, outcome)
                if (error := self._account.too_many_failures()) is not None:
                    raise error
                for trial in list(self._trials.values()):
                    for job in trial.overdue():
                        self._stop(job)
        except BaseException:
            self._stop_all()
            raise

    def report(self, key: int, step: int, value: float) -> bool:
        """Record an intermediate value of a job; returns whether it should stop.

        With replicates, the study gets a step when all of them have reported it.

        Raises:
            DivergedError: the value is NaN.
            JobStopped: the job was stopped or has ended.
        """
        number, replicate = divmod(key, self._limits.replicates)
        trial = self._trials.get(number)
        if trial is None or key in self._stopped:
            raise JobStopped(f"trial {number} must stop")
        self._reporting.add(key)
        mean = trial.report(replicate, step, value)
        self._repeated.reported(step, value, key, f"trial {number}")
        if mean is not None:
            trial.prune = self._account.report(number, step, mean)
        self._listener.reported(key, step, value)
        return trial.prune

    def _has_room(self) -> bool:
        """Whether the next job may start now."""
        next_is_alone = bool(self._queue) and self._queue[0].alone
        if next_is_alone or any(job.alone for job in self._running):
            return not self._running
        return len(self._running) < self._executor.slots

    def _next(self) -> bool:
        """Make sure that a job is queued, if one is left."""
        if not self._queue and (upcoming := self._account.next_trial()) is not None:
            number, params = upcoming
            kept, reports = self._kept_of(number), self._account.reports(number)
            seed = self._account.seed(number)
            trial = TrialAccount(number, params, self._limits, self._clock, kept, reports, seed)
            self._trials[number] = trial
            self._queue += trial.jobs(self._account.begin_attempt(number))
        return bool(self._queue)

    def _start(self, job: Job) -> None:
        self._listener.started(job)  # first: if it fails, there is no job whose end is waited for
        self._running.append(job)
        self._trials[job.trial].start(job)
        self._stopped.discard(job.key)
        self._reporting.discard(job.key)
        self._repeated.begin(job.key)
        self._executor.start(job)

    def _patience(self) -> float | None:
        """Seconds until a running job exceeds its time limit; None if none can."""
        left = (trial.left_s for trial in self._trials.values())
        return min((seconds for seconds in left if seconds is not None), default=None)

    def _stop(self, job: Job) -> None:
        self._stopped.add(job.key)
        patience_s = STOP_PATIENCE_S if job.key in self._reporting else 0.0
        self._executor.stop(job, STOP_GRACE_S, patience_s)

    def _end(self, job: Job, outcome: Outcome) -> None:
        self._running.remove(job)
        trial = self._trials[job.trial]
        ending = trial.end(job, outcome)
        if (again := ending.again) is not None:
            attempt = self._account.try_again(job.trial, outcome.reason, again.alone)
            self._queue.appendleft(replace(again, attempt=attempt))
            return
        self._repeated.begin(job.key)
        self._listener.ended(job, ending.outcome)
        if ending.result is not None:
            self._queue = deque(other for other in self._queue if other.trial != job.trial)
            for other in trial.running:
                self._stop(other)
            self._account.tell(trial.number, ending.result)
        if trial.ended and not trial.running:
            del self._trials[trial.number]

    def _stop_all(self) -> None:
        """Stop the running jobs and leave their trials unfinished, so that they can be resumed."""
        for job in self._running:
            self._stop(job)
        deadline = self._clock() + 2 * STOP_GRACE_S
        while self._running and self._clock() < deadline:
            for job, outcome in self._executor.wait(max(0.0, deadline - self._clock())):
                # A job that finished in the meantime counts; any other is resumed later.
                if outcome.state in ("COMPLETE", "PRUNED"):
                    self._end(job, outcome)
                else:
                    self._running.remove(job)
