"""Ask, start, wait for the first, tell, ask again: no slot waits for another.

The loop knows trials and their jobs; what runs a job is an `Executor`, what chooses its values a
`Study`. A trial with replicates is told when all of them are done.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from explr.core.errors import ExplrError, SweepError
from explr.tuning.executor import Executor
from explr.tuning.study import SpaceOf, Study
from explr.tuning.trial import Job, Outcome, UnderWay

FROM = 5
"""Trials that have ended before the part of failed ones is looked at."""


class Failures:
    """Counts the trials that failed among those that ended.

    Args:
        max_rate: part of them that may fail.
    """

    def __init__(self, max_rate: float) -> None:
        self._max_rate = max_rate
        self._ended = self._failed = 0
        self.first: Outcome | None = None

    def count(self, outcome: Outcome) -> None:
        """Take in how a trial ended."""
        self._ended += 1
        if outcome.state == "FAIL":
            self._failed += 1
            self.first = self.first or outcome

    def too_many(self) -> SweepError | None:
        """What is to be raised if more failed than may."""
        if self.first is None or self._ended < FROM or self._failed <= self._max_rate * self._ended:
            return None
        return after_first(
            self.first,
            f"{self._failed} of {self._ended} trials failed, more than "
            f"tuner.max_failure_rate={self._max_rate:g} allows",
        )


def after_first(failure: Outcome, sentence: str) -> SweepError:
    """An error that shows the first failure of a sweep, and then says what follows from it.

    Args:
        failure: how the first trial that failed did so.
        sentence: what follows.
    """
    shown = (failure.detail or failure.reason).rstrip()
    return SweepError(f"{shown}\n{sentence}, the first with this")


log = logging.getLogger("explr.sweep")

STOP_GRACE_S = 5.0
"""Seconds that a running trial gets to end after Ctrl-C."""


@dataclass(frozen=True)
class Limits:
    """When a sweep ends, and what it bears.

    Args:
        n_trials: trials in all, those of earlier controllers included.
        timeout_s: no trial begins after this many seconds; None sets no limit.
        trial_timeout_s: a job ends after this many seconds; None sets no limit.
        retries: how often a trial whose process died is tried again.
        max_failure_rate: part of the finished trials that may have failed before the sweep gives
            up; looked at from the fifth on.
        replicates: trainings of each trial, with seeds of their own.
    """

    n_trials: float
    timeout_s: float | None = None
    trial_timeout_s: float | None = None
    retries: int = 0
    max_failure_rate: float = 1.0
    replicates: int = 1


class SweepLoop:
    """Runs the trials of a sweep.

    Args:
        study: chooses values and keeps what came out.
        space_of: the ranges that are active once some parameters are chosen.
        limits: when the sweep ends.
        on_start: called with each job that starts.
        on_end: called with each job that ended and how.
    """

    def __init__(
        self,
        study: Study,
        space_of: SpaceOf,
        limits: Limits,
        on_start: Callable[[Job], None] = lambda job: None,
        on_end: Callable[[Job, Outcome], None] = lambda job, outcome: None,
    ) -> None:
        self._study = study
        self._space_of = space_of
        self._limits = limits
        self._on_start = on_start
        self._on_end = on_end
        self._queue: deque[Job] = deque()
        self._trials: dict[int, UnderWay] = {}
        self._running: dict[Job, float] = {}
        self._timed_out: set[Job] = set()
        self._stopped: set[int] = set()
        self._failures = Failures(limits.max_failure_rate)
        self._begun = 0

    @property
    def first_failure(self) -> Outcome | None:
        """How the first trial that failed did so."""
        return self._failures.first

    def run(self, executor: Executor) -> None:
        """Run until nothing is left to do.

        Args:
            executor: runs the jobs.

        Raises:
            KeyboardInterrupt: the sweep was interrupted; unfinished trials stay unfinished.
            SweepError: more trials failed than `max_failure_rate` bears.
        """
        self._executor = executor
        begin = time.monotonic()
        for number, params in self._study.unfinished(self._space_of):
            self._line_up(number, params)
        self._begun = self._study.count()
        try:
            while True:
                out_of_time = (
                    self._limits.timeout_s is not None
                    and time.monotonic() - begin >= self._limits.timeout_s
                )
                while self._has_room() and self._next(out_of_time):
                    self._start(self._queue.popleft())
                if not self._running:
                    return
                for job, outcome in self._executor.wait(self._patience()):
                    self._end(job, outcome)
                if (error := self._failures.too_many()) is not None:
                    raise error
                self._stop_overdue()
        except BaseException:
            self._stop_all()
            raise

    def report(self, key: int, step: int, value: float) -> bool:
        """Take in an intermediate value of a job; whether it should end.

        With replicates, a step is told when all of them have reported it, as their mean.

        Raises:
            ValueError: the value is NaN.
            ExplrError: the job is to end, or runs no more; whoever cannot be stopped learns of it
                this way.
        """
        if math.isnan(value):
            raise ValueError(f"the objective is NaN at step {step}")
        number, replicate = divmod(key, self._limits.replicates)
        trial = self._trials.get(number)
        if trial is None or key in self._stopped:
            raise ExplrError(f"trial {number} is to end")
        return trial.report(replicate, step, value, self._study.report)

    def _has_room(self) -> bool:
        """Whether the job that comes next may start now."""
        next_is_alone = bool(self._queue) and self._queue[0].alone
        if next_is_alone or any(job.alone for job in self._running):
            return not self._running
        return len(self._running) < self._executor.slots

    def _next(self, out_of_time: bool) -> bool:
        """Make sure that a job is lined up, if one is left."""
        through = self._begun >= self._limits.n_trials or self._study.stopped
        if not self._queue and not through and not out_of_time:
            number, params = self._study.ask(self._space_of)
            self._begun += 1
            self._line_up(number, params)
        return bool(self._queue)

    def _line_up(self, number: int, params: dict[str, Any]) -> None:
        trial = self._trials[number] = UnderWay(number, params, self._limits.replicates)
        attempt = self._study.begin_attempt(number)
        self._queue += [trial.job(replicate, attempt) for replicate in range(trial.replicates)]

    def _start(self, job: Job) -> None:
        self._running[job] = time.monotonic()
        self._stopped.discard(job.key)
        self._on_start(job)
        self._executor.start(job)

    def _patience(self) -> float | None:
        """How long to wait before a running job is overdue."""
        limit = self._limits.trial_timeout_s
        waiting = [begun for job, begun in self._running.items() if job not in self._timed_out]
        if limit is None or not waiting:
            return None
        return max(0.0, min(waiting) + limit - time.monotonic())

    def _stop_overdue(self) -> None:
        limit = self._limits.trial_timeout_s
        for job, begun in self._running.items():
            if limit is None or job in self._timed_out:
                continue
            if time.monotonic() - begun >= limit:
                self._timed_out.add(job)
                self._stop(job)

    def _stop(self, job: Job) -> None:
        self._stopped.add(job.key)
        self._executor.stop(job, STOP_GRACE_S)

    def _end(self, job: Job, outcome: Outcome) -> None:
        del self._running[job]
        trial = self._trials[job.trial]
        if outcome.state == "RUNNING":  # somebody else ended its process
            outcome = replace(outcome, state="FAIL", died=True)
        if job in self._timed_out:
            self._timed_out.discard(job)
            outcome = Outcome("FAIL", reason=f"timeout after {self._limits.trial_timeout_s:g} s")
        elif self._is_tried_again(trial, outcome):
            how = "again, alone" if outcome.try_alone else "again"
            log.warning("trial %d: %s, trying %s", job.trial, outcome.reason, how)
            attempt = self._study.begin_attempt(job.trial)
            self._queue.appendleft(trial.job(job.replicate, attempt, outcome.try_alone))
            return
        self._on_end(job, outcome)
        if trial.told:
            self._forget(trial)
            return
        if outcome.state == "COMPLETE":
            values = trial.complete(job.replicate, outcome.values)
            if values is not None:
                self._tell(trial, Outcome("COMPLETE", values))
        else:
            self._queue = deque(other for other in self._queue if other.trial != job.trial)
            for other in self._running:
                if other.trial == job.trial:
                    self._stop(other)
            self._tell(trial, outcome)

    def _is_tried_again(self, trial: UnderWay, outcome: Outcome) -> bool:
        """Whether a job is to start once more; what has to run alone costs none of the retries."""
        if trial.told:
            return False
        if outcome.try_alone:
            return True
        if not outcome.died or trial.deaths >= self._limits.retries:
            return False
        trial.deaths += 1
        return True

    def _tell(self, trial: UnderWay, outcome: Outcome) -> None:
        trial.told = True
        self._failures.count(outcome)
        self._study.tell(trial.number, outcome.state, outcome.values, outcome.reason)
        self._forget(trial)

    def _forget(self, trial: UnderWay) -> None:
        if not any(job.trial == trial.number for job in self._running):
            self._trials.pop(trial.number, None)

    def _stop_all(self) -> None:
        """End what runs and leave it unfinished, so that the sweep can go on with it."""
        for job in self._running:
            self._stop(job)
        deadline = time.monotonic() + 2 * STOP_GRACE_S
        while self._running and time.monotonic() < deadline:
            for job, outcome in self._executor.wait(max(0.0, deadline - time.monotonic())):
                # One that came to its own end meanwhile is done; anything else goes on later.
                if outcome.state in ("COMPLETE", "PRUNED"):
                    self._end(job, outcome)
                else:
                    del self._running[job]
