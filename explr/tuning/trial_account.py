"""Keeps the account of one trial: its jobs, reports and limits, and what follows from an end."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from explr.core.errors import DivergedError
from explr.core.objective.constraints import Constraint
from explr.core.reporter import NO_VALUE, reported_value
from explr.tuning.feasibility.failure import Failure
from explr.tuning.trial import Job, Outcome


@dataclass(frozen=True)
class Limits:
    """Stopping rules, failure tolerance, and what counts as the value of a trial.

    Args:
        n_trials: total number of trials, including those of earlier controllers.
        timeout_s: no trial starts after this many seconds; None sets no limit.
        trial_timeout_s: a job is stopped after this many seconds; None sets no limit.
        retries: how often a trial is retried after its process died, or the disk was full.
        max_failure_rate: fraction of ended trials that may fail before the sweep stops; checked
            from the fifth ended trial on; 0 stops at the first failure.
        replicates: number of trainings of each trial, each with its own seed.
        reported: which reported value a training has that returns none: `last` or `best`.
        minimize: whether less is better.
        metric: name of the metric that an app reports; None if it does not name one.
        constraints: bounds of the values that follow the objectives in what a training returns.
        confirm: how many of the best trials are compared with fresh seeds; 0 confirms none.
        target: value that ends the search once a trial has reached it; None sets none.
        stop_when: expected gain of a further trial below which the search ends; None never ends it.
    """

    n_trials: float
    timeout_s: float | None = None
    trial_timeout_s: float | None = None
    retries: int = 0
    max_failure_rate: float = 1.0
    replicates: int = 1
    reported: str = "last"
    minimize: bool = True
    metric: Any = None
    constraints: tuple[Constraint, ...] = ()
    confirm: int = 0
    target: float | None = None
    stop_when: float | None = None


@dataclass(frozen=True)
class Ending:
    """What follows from the end of a job.

    Args:
        outcome: how the job ended, also if it exceeded the time limit or its process was stopped.
        again: the job that retries it; None if it is not retried.
        result: how the trial ended; None if it is still running or ended before this job.
    """

    outcome: Outcome
    again: Job | None = None
    result: Outcome | None = None


@dataclass(frozen=True)
class FinishedReplicate:
    """A replicate that completed.

    Args:
        values: value of each objective.
        reports: what it reported, by step.
    """

    values: tuple[float, ...]
    reports: Mapping[int, float]


class KeptReplicates(Protocol):
    """Keeps the finished replicates of a trial for the next controller."""

    def load(self, params: Mapping[str, Any]) -> Mapping[int, FinishedReplicate]:
        """The replicates by number that completed with these parameters."""
        ...

    def save(self, params: Mapping[str, Any], finished: Mapping[int, FinishedReplicate]) -> None:
        """Keep the replicates that completed so far."""
        ...


class TrialAccount:
    """The account of one trial: its jobs, their time, their reports, and how it ends.

    Args:
        number: number of the trial.
        params: the sampled values by parameter.
        limits: the number of replicates, the retries, and the time limit of a job.
        clock: a monotonic clock in seconds.
        kept: has the finished replicates of earlier controllers; None if none are kept.
        reports: what the trial reported under earlier controllers, by step.
        seed: see `Job`.
    """

    def __init__(
        self,
        number: int,
        params: dict[str, Any],
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
        kept: KeptReplicates | None = None,
        reports: Mapping[int, float] | None = None,
        seed: int = 0,
    ) -> None:
        self.number = number
        self.params = params
        self.ended = False
        self.prune = False
        """Whether the pruner wants the trial to stop."""
        self.deaths: tuple[str, ...] = ()
        """Why its processes died, for each retry."""
        self._limits = limits
        self._seed = seed
        self._clock = clock
        self._started_at: dict[Job, float] = {}
        self._overdue: set[Job] = set()
        self._values: dict[int, tuple[float, ...]] = {}
        self._reports: dict[int, dict[int, float]] = {}
        self._last: dict[int, float] = {}
        self._kept = kept if limits.replicates > 1 else None
        if limits.replicates == 1:
            self._reports = {step: {0: value} for step, value in sorted((reports or {}).items())}
        if self._kept is not None:
            finished = self._kept.load(params)
            known = [replicate for replicate in sorted(finished) if replicate < limits.replicates]
            # At least one is trained: a trial ends with the end of a job.
            for replicate in known[: limits.replicates - 1]:
                self._take_over(replicate, finished[replicate])

    def jobs(self, attempt: int = 0) -> list[Job]:
        """The first job of each replicate that has not completed.

        Args:
            attempt: how often the trial was started before.
        """
        count = self._limits.replicates
        return [
            Job(self.number, each, count, attempt, self.params, seed=self._seed)
            for each in range(count)
            if each not in self._values
        ]

    @property
    def running(self) -> list[Job]:
        """The running jobs."""
        return list(self._started_at)

    @property
    def left_s(self) -> float | None:
        """Seconds until the next job exceeds its time limit; None without a limit or
        a running job."""
        limit = self._limits.trial_timeout_s
        starts = [at for job, at in self._started_at.items() if job not in self._overdue]
        if limit is None or not starts:
            return None
        return max(0.0, min(starts) + limit - self._clock())

    def start(self, job: Job) -> None:
        """Record that a job starts; its time limit counts from here."""
        self._started_at[job] = self._clock()

    def overdue(self) -> list[Job]:
        """The jobs to stop because they exceeded the time limit; each is returned only once."""
        limit, now = self._limits.trial_timeout_s, self._clock()
        if limit is None:
            return []
        late = [job for job, at in self._started_at.items() if now - at >= limit]
        fresh = [job for job in late if job not in self._overdue]
        self._overdue.update(fresh)
        return fresh

    def report(self, replicate: int, step: int, value: float) -> float | None:
        """Record an intermediate value of a replicate.

        Args:
            replicate: number of the replicate.
            step: step of the training.
            value: the objective at that step.

        Returns:
            The mean over the replicates; None until all of them have reported the step.

        Raises:
            DivergedError: the value is NaN.
        """
        if math.isnan(value):
            raise DivergedError(f"the objective is NaN at step {step}")
        values = self._reports.setdefault(step, {})
        values[replicate] = self._last[replicate] = value
        if len(values) < self._limits.replicates:
            return None
        return statistics.fmean(values.values())

    def end(self, job: Job, outcome: Outcome) -> Ending:
        """Record how a job ended, and decide what follows.

        Args:
            job: a running job.
            outcome: how it ended.
        """
        del self._started_at[job]
        if job in self._overdue:
            self._overdue.discard(job)
            reason = f"timeout after {self._limits.trial_timeout_s:g} s"
            outcome = Outcome("FAIL", reason=reason, failure=Failure.TIMEOUT)
        elif outcome.state == "RUNNING":  # stopped, but not by the time limit
            outcome = replace(outcome, state="FAIL", failure=Failure.KILLED, died=True)
        elif outcome.state == "COMPLETE" and not outcome.values:
            outcome = self._of_reports(job.replicate, outcome)
        if self.ended:
            return Ending(self._split(outcome))
        if self._is_tried_again(outcome):
            return Ending(outcome, again=replace(job, alone=outcome.try_alone))
        result = outcome
        if outcome.state == "COMPLETE":
            self._values[job.replicate] = outcome.values
            self._keep()
            if len(self._values) < self._limits.replicates:
                return Ending(self._split(outcome))
            means = map(statistics.fmean, zip(*self._values.values(), strict=True))
            result = Outcome("COMPLETE", tuple(means))
        self.ended = True
        return Ending(self._split(outcome), result=self._split(result))

    def _split(self, outcome: Outcome) -> Outcome:
        """An outcome with the values of the objectives apart from those with a constraint."""
        values, count = outcome.values, len(outcome.values) - len(self._limits.constraints)
        if not self._limits.constraints or not values:
            return outcome
        return replace(outcome, values=values[:count], measured=values[count:])

    def _of_reports(self, replicate: int, outcome: Outcome) -> Outcome:
        """The outcome of a job that completed without a value, with one of those it reported."""
        limits = self._limits
        values = [of[replicate] for of in self._reports.values() if replicate in of]
        if replicate in self._last:  # else only an earlier controller has heard of it
            values.append(self._last[replicate])
        if not values:
            named = f" as {limits.metric}" if limits.metric else ""
            return replace(outcome, state="FAIL", reason=NO_VALUE + named, failure=Failure.INVALID)
        return replace(outcome, values=(reported_value(values, limits.reported, limits.minimize),))

    def _take_over(self, replicate: int, finished: FinishedReplicate) -> None:
        """Take over a replicate that completed under an earlier controller."""
        self._values[replicate] = finished.values
        for step, value in finished.reports.items():
            self._reports.setdefault(step, {})[replicate] = value

    def _keep(self) -> None:
        """Keep the replicates that completed so far."""
        if self._kept is None:
            return
        finished = {
            replicate: FinishedReplicate(
                values,
                {step: of[replicate] for step, of in self._reports.items() if replicate in of},
            )
            for replicate, values in self._values.items()
        }
        self._kept.save(self.params, finished)

    def _is_tried_again(self, outcome: Outcome) -> bool:
        """Whether to retry a job; a retry because it must run alone does not count."""
        if outcome.try_alone:
            return True
        may_help = outcome.died or (outcome.failure is not None and outcome.failure.is_accident)
        if not may_help or len(self.deaths) >= self._limits.retries:
            return False
        self.deaths += (outcome.reason,)
        return True
