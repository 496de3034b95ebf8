"""The account of a sweep: what was begun, tried again, reported and ended, under every tuner.

A `TrialAccount` knows one trial and its limits; whoever runs its jobs asks it what the end of a job
means. A `SweepAccount` knows which trial comes next, tells the study how each one ended, and counts
the failures.
"""

from __future__ import annotations

import logging
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol
from uuid import uuid4

from explr.core.errors import SweepError
from explr.tuning.study import SpaceOf, Study
from explr.tuning.trial import Job, Outcome

log = logging.getLogger("explr.sweep")

MIN_ENDED = 5
"""Trials that must have ended before the rate of failures is looked at."""


@dataclass(frozen=True)
class Limits:
    """Stopping rules and failure tolerance of a sweep.

    Args:
        n_trials: trials in all, those of earlier controllers included.
        timeout_s: no trial begins after this many seconds; None sets no limit.
        trial_timeout_s: a job is stopped after this many seconds; None sets no limit.
        retries: how often a trial whose process died is tried again.
        max_failure_rate: share of the ended trials that may have failed before the sweep gives up;
            looked at from the fifth on.
        replicates: trainings of each trial, with seeds of their own.
    """

    n_trials: float
    timeout_s: float | None = None
    trial_timeout_s: float | None = None
    retries: int = 0
    max_failure_rate: float = 1.0
    replicates: int = 1


@dataclass(frozen=True)
class Ending:
    """What the end of a job means for its trial.

    Args:
        outcome: how the job ended, with the time limit and its death taken into account.
        again: the job to start in its place; None if it is not tried again.
        result: how the trial ended; None while it is still pending, and for a job that ends after
            its trial has.
    """

    outcome: Outcome
    again: Job | None = None
    result: Outcome | None = None


class TrialAccount:
    """The account of one trial: its jobs, their time, their reports, and how it ends.

    Args:
        number: number of the trial.
        params: the sampled values by parameter.
        limits: the number of replicates, the retries, and the time limit of a job.
        clock: seconds, ever growing.
    """

    def __init__(
        self,
        number: int,
        params: dict[str, Any],
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.number = number
        self.params = params
        self.ended = False
        self.prune = False
        """Whether the pruner has asked the trial to end."""
        self.deaths: tuple[str, ...] = ()
        """Why its processes died, for each one that was replaced."""
        self._limits = limits
        self._clock = clock
        self._begun_at: dict[Job, float] = {}
        self._overdue: set[Job] = set()
        self._values: dict[int, tuple[float, ...]] = {}
        self._reports: dict[int, dict[int, float]] = {}

    def jobs(self, attempt: int = 0) -> list[Job]:
        """The first job of each replicate.

        Args:
            attempt: how often the trial was started before.
        """
        count = self._limits.replicates
        return [Job(self.number, each, count, attempt, self.params) for each in range(count)]

    @property
    def running(self) -> list[Job]:
        """The jobs that run now."""
        return list(self._begun_at)

    @property
    def left_s(self) -> float | None:
        """Seconds until the next job exceeds its time limit; None if none can."""
        limit = self._limits.trial_timeout_s
        begun = [at for job, at in self._begun_at.items() if job not in self._overdue]
        if limit is None or not begun:
            return None
        return max(0.0, min(begun) + limit - self._clock())

    def start(self, job: Job) -> None:
        """Note that a job starts; its time counts from here."""
        self._begun_at[job] = self._clock()

    def overdue(self) -> list[Job]:
        """The jobs to stop because they exceeded the time limit; each is named once."""
        limit, now = self._limits.trial_timeout_s, self._clock()
        if limit is None:
            return []
        late = [job for job, at in self._begun_at.items() if now - at >= limit]
        fresh = [job for job in late if job not in self._overdue]
        self._overdue.update(fresh)
        return fresh

    def report(self, replicate: int, step: int, value: float) -> float | None:
        """Take in an intermediate value of a replicate.

        Args:
            replicate: number of the replicate.
            step: step of the training.
            value: the objective at that step.

        Returns:
            The mean over the replicates; None until all of them have reported the step.

        Raises:
            ValueError: the value is NaN.
        """
        if math.isnan(value):
            raise ValueError(f"the objective is NaN at step {step}")
        values = self._reports.setdefault(step, {})
        values[replicate] = value
        if len(values) < self._limits.replicates:
            return None
        return statistics.fmean(values.values())

    def end(self, job: Job, outcome: Outcome) -> Ending:
        """Take in how a job ended, and say what follows.

        Args:
            job: a job that runs.
            outcome: how it ended.
        """
        del self._begun_at[job]
        if job in self._overdue:
            self._overdue.discard(job)
            outcome = Outcome("FAIL", reason=f"timeout after {self._limits.trial_timeout_s:g} s")
        elif outcome.state == "RUNNING":  # somebody else stopped its process
            outcome = replace(outcome, state="FAIL", died=True)
        if self.ended:
            return Ending(outcome)
        if self._is_tried_again(outcome):
            return Ending(outcome, again=replace(job, alone=outcome.try_alone))
        result = outcome
        if outcome.state == "COMPLETE":
            self._values[job.replicate] = outcome.values
            if len(self._values) < self._limits.replicates:
                return Ending(outcome)
            means = map(statistics.fmean, zip(*self._values.values(), strict=True))
            result = Outcome("COMPLETE", tuple(means))
        self.ended = True
        return Ending(outcome, result=result)

    def _is_tried_again(self, outcome: Outcome) -> bool:
        """Whether a job is to start once more; what has to run alone costs none of the retries."""
        if outcome.try_alone:
            return True
        if not outcome.died or len(self.deaths) >= self._limits.retries:
            return False
        self.deaths += (outcome.reason,)
        return True


class SweepListener:
    """Hears what happens in a sweep, and does nothing with it: subclasses do.

    Methods may be called from several threads.
    """

    def started(self, job: Job) -> None:
        """A job starts."""

    def changed(self, job: Job) -> None:
        """A job goes on with other parameters."""

    def reported(self, key: int, step: int, value: float) -> None:
        """A job has reported the objective."""

    def ended(self, job: Job, outcome: Outcome) -> None:
        """A job has ended, and is not tried again."""


class Suggest(Protocol):
    """Chooses the parameters of a trial in place of the study's sampler."""

    def suggest(self, suggestion: str) -> dict[str, Any] | None:
        """Parameters by name; None for no more."""
        ...

    def complete(self, suggestion: str, value: float | None) -> None:
        """Take in the value of a trial that ended; None if it has none."""
        ...


class SweepAccount:
    """The account of all trials of a sweep.

    Args:
        study: chooses values and keeps what came out.
        space_of: the ranges that are active once some parameters are chosen.
        limits: when the sweep ends, and how many failures it bears.
        suggest: chooses parameters in place of the study's sampler.
        clock: seconds, ever growing.
    """

    def __init__(
        self,
        study: Study,
        space_of: SpaceOf,
        limits: Limits,
        suggest: Suggest | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._study = study
        self._space_of = space_of
        self.limits = limits
        self._suggest = suggest
        self._clock = clock
        self._unfinished: dict[int, dict[str, Any]] = {}
        self._suggestions: dict[int, str] = {}
        self._begun = self._ended = self._failed = 0
        self.first_failure: Outcome | None = None
        """How the first trial that failed did so."""

    def begin(self) -> None:
        """Take over the unfinished trials of earlier controllers; `timeout_s` counts from here."""
        self._unfinished = dict(self._study.unfinished(self._space_of))
        self._begun = self._study.count()
        self._begin_at = self._clock()

    def take_over(self, number: int) -> dict[str, Any] | None:
        """The parameters of an unfinished trial, which `next_trial` then leaves out.

        Args:
            number: number of the trial.

        Returns:
            None if there is no such trial.
        """
        return self._unfinished.pop(number, None)

    def next_trial(self) -> tuple[int, dict[str, Any]] | None:
        """The next trial to run; unfinished ones come first.

        Returns:
            The number of the trial and the values of its parameters; None if none is left.
        """
        if self._unfinished:
            number = next(iter(self._unfinished))
            return number, self._unfinished.pop(number)
        if self._begun >= self.limits.n_trials or self._study.stopped or self._is_out_of_time():
            return None
        self._begun += 1
        if self._suggest is None or self._study.waiting:
            return self._study.ask(self._space_of)
        suggestion = uuid4().hex
        given = self._suggest.suggest(suggestion)
        if given is None:
            return None
        number, params = self._study.ask(self._space_of, given)
        self._suggestions[number] = suggestion
        return number, params

    def begin_attempt(self, number: int) -> int:
        """Count a start of a trial; how often it was started before."""
        return self._study.begin_attempt(number)

    def try_again(self, number: int, reason: str, alone: bool = False) -> int:
        """Count and log that a trial whose process died is started once more.

        Args:
            number: number of the trial.
            reason: why it is.
            alone: whether nothing is to run beside it.

        Returns:
            How often it was started before.
        """
        log.warning("trial %d: %s, trying again%s", number, reason, ", alone" if alone else "")
        return self.begin_attempt(number)

    def change(self, number: int, params: Mapping[str, Any]) -> None:
        """Note that a trial goes on with other parameters than it began with."""
        self._study.note_params(number, params)

    def report(self, number: int, step: int, value: float) -> bool:
        """Record an intermediate value; whether the study's pruner would end the trial."""
        return self._study.report(number, step, value)

    def tell(self, number: int, outcome: Outcome) -> None:
        """Record how a trial ended."""
        self._ended += 1
        if outcome.state == "FAIL":
            self._failed += 1
            self.first_failure = self.first_failure or outcome
        self._study.tell(number, outcome.state, outcome.values, outcome.reason)
        suggestion = self._suggestions.pop(number, None)
        if suggestion is not None and self._suggest is not None:
            self._suggest.complete(suggestion, outcome.values[0] if outcome.values else None)

    def too_many_failures(self) -> SweepError | None:
        """The error to raise once more trials failed than `max_failure_rate` allows."""
        first, rate = self.first_failure, self.limits.max_failure_rate
        if first is None or self._ended < MIN_ENDED or self._failed <= rate * self._ended:
            return None
        return after_first(
            first,
            f"{self._failed} of {self._ended} trials failed, more than "
            f"tuner.max_failure_rate={rate:g} allows",
        )

    def _is_out_of_time(self) -> bool:
        limit = self.limits.timeout_s
        return limit is not None and self._clock() - self._begin_at >= limit


def after_first(failure: Outcome, sentence: str) -> SweepError:
    """An error that shows the first failure of a sweep, and then says what follows from it.

    Args:
        failure: how the first trial that failed did so.
        sentence: what follows.
    """
    shown = (failure.detail or failure.reason).rstrip()
    return SweepError(f"{shown}\n{sentence}, the first with this")
