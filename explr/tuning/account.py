"""Keeps the account of a sweep, under every tuner: its trials, how each ended, and the failures.

It chooses the next trial and records in the study how each one ended; see `TrialAccount` for one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol
from uuid import uuid4

from explr.core.errors import SweepError
from explr.core.objective.constraints import are_satisfied
from explr.tuning.confirmation.confirming import CONFIRMS, SHARE, reserved
from explr.tuning.search_space import SpaceOf
from explr.tuning.stopping.rule import StoppingRule
from explr.tuning.study import Study
from explr.tuning.trial import Job, Outcome
from explr.tuning.trial_account import Limits

log = logging.getLogger("explr.sweep")

MIN_ENDED = 5
"""Number of ended trials from which the failure rate is checked."""


class SweepListener:
    """Receives the events of a sweep; subclasses override what they need.

    Methods may be called from several threads.
    """

    def started(self, job: Job) -> None:
        """A job starts."""

    def changed(self, job: Job) -> None:
        """A job continues with other parameters."""

    def reported(self, key: int, step: int, value: float) -> None:
        """A job has reported the objective."""

    def missed(self, key: int, names: Sequence[str]) -> None:
        """A job reports these metrics, and not the objective."""

    def ended(self, job: Job, outcome: Outcome) -> None:
        """A job has ended, and is not retried."""


class Suggest(Protocol):
    """Chooses the parameters of a trial in place of the study's sampler."""

    def suggest(self, suggestion: str) -> dict[str, Any] | None:
        """Parameters by name; None if there are no more."""
        ...

    def complete(self, suggestion: str, value: float | None) -> None:
        """Record the value of a trial that ended; None if it has none."""
        ...


class SweepAccount:
    """The account of all trials of a sweep.

    Args:
        study: chooses parameters and stores results.
        space_of: the ranges that are active once some parameters are chosen.
        limits: stopping rules and failure tolerance.
        suggest: chooses parameters in place of the study's sampler.
        clock: a monotonic clock in seconds.
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
        self._started = self._confirming = self._ended = self._failed = 0
        minimize = study.directions[0] == "minimize"
        self._rule = StoppingRule(minimize, limits.target, limits.stop_when)
        self.first_failure: Outcome | None = None
        """How the first trial that failed did so."""

    def begin(self) -> None:
        """Take over the unfinished trials of earlier controllers; `timeout_s` counts from here."""
        self._unfinished = dict(self._study.unfinished(self._space_of))
        self._started, self._confirming = self._study.count(), self._study.confirming()
        self._start_time = self._clock()
        if self._stops_early:
            for trial in self._study.frozen():
                if trial.state.is_finished() and CONFIRMS not in trial.user_attrs:
                    complete = trial.state.name == "COMPLETE"
                    self._rule.ended(trial.number, trial.value if complete else None)
        self._study.note_stop(self._rule.reason)  # also one that no longer holds

    def take_over(self, number: int) -> dict[str, Any] | None:
        """Take an unfinished trial, so that `next_trial` does not return it.

        Args:
            number: number of the trial.

        Returns:
            The parameters of the trial; None if there is no such trial.
        """
        return self._unfinished.pop(number, None)

    def next_trial(self) -> tuple[int, dict[str, Any]] | None:
        """The next trial to run; unfinished trials come first.

        Returns:
            The number of the trial and the values of its parameters; None if none is left.
        """
        if self._unfinished:
            number = next(iter(self._unfinished))
            return number, self._unfinished.pop(number)
        upcoming = None if self._is_over() else self._chosen()
        if upcoming is None:
            self._study.flush()  # how the last trials ended; `ask` flushes earlier ends
        return upcoming

    def _chosen(self) -> tuple[int, dict[str, Any]] | None:
        """A new trial: one that searches, or one that confirms another."""
        limits = self.limits
        if self._is_searched():
            if not limits.confirm:
                return None
            if (again := self._study.confirm(limits, self._space_of)) is not None:
                self._started += 1
                self._confirming += 1
            return again
        self._started += 1
        if self._suggest is None or self._study.waiting:
            return self._study.ask(self._space_of)
        suggestion = uuid4().hex
        given = self._suggest.suggest(suggestion)
        if given is None:
            return None
        number, params = self._study.ask(self._space_of, given)
        self._suggestions[number] = suggestion
        return number, params

    def seed(self, number: int) -> int:
        """The number to add to the sweep's seed in a trial."""
        return self._study.seed(number)

    def begin_attempt(self, number: int) -> int:
        """Count a start of a trial; returns how often it was started before."""
        return self._study.begin_attempt(number)

    def try_again(self, number: int, reason: str, alone: bool = False) -> int:
        """Count and log a retry of a trial.

        Args:
            number: number of the trial.
            reason: why it is retried.
            alone: whether no other job may run at the same time.

        Returns:
            How often it was started before.
        """
        log.warning("trial %d: %s, trying again%s", number, reason, ", alone" if alone else "")
        return self.begin_attempt(number)

    def change(self, number: int, params: Mapping[str, Any]) -> None:
        """Record that a trial continues with other parameters than it started with."""
        self._study.note_params(number, params)

    def reports(self, number: int) -> Mapping[int, float]:
        """What a trial has reported so far, by step."""
        return self._study.reports(number)

    def report(self, number: int, step: int, value: float) -> bool:
        """Record an intermediate value; returns whether the study's pruner would stop the trial."""
        return self._study.report(number, step, value)

    def tell(self, number: int, outcome: Outcome) -> None:
        """Record how a trial ended."""
        self._ended += 1
        if outcome.state == "FAIL":
            self._failed += 1
            self.first_failure = self.first_failure or outcome
        bounds = self.limits.constraints
        is_feasible = are_satisfied(bounds, outcome.measured)
        value = outcome.values[0] if outcome.values and is_feasible else None
        if self._stops_early and not self._study.confirms(number):
            self._note_value(number, value)
        pairs = zip(bounds, outcome.measured, strict=bool(outcome.measured))
        self._study.tell(
            number,
            outcome.state,
            outcome.values,
            outcome.reason,
            outcome.failure,
            {each.name: (measured, each.violation(measured)) for each, measured in pairs},
        )
        suggestion = self._suggestions.pop(number, None)
        if suggestion is not None and self._suggest is not None:
            self._suggest.complete(suggestion, value)

    def too_many_failures(self) -> SweepError | None:
        """The error if more trials failed than `max_failure_rate` allows; otherwise None."""
        first, rate = self.first_failure, self.limits.max_failure_rate
        if first is None or (rate > 0 and self._ended < MIN_ENDED):
            return None
        if self._failed <= rate * self._ended:
            return None
        return after_first(
            first,
            f"{self._failed} of {self._ended} trials failed, more than "
            f"tuner.max_failure_rate={rate:g} allows",
        )

    @property
    def _stops_early(self) -> bool:
        return self.limits.target is not None or self.limits.stop_when is not None

    def _note_value(self, number: int, value: float | None) -> None:
        """Take in how a trial ended, which may end the search."""
        known = self._rule.reason
        self._rule.ended(number, value)
        if self._rule.reason and not known:
            log.info("no further trial searches: %s", self._rule.reason)
            self._study.note_stop(self._rule.reason)

    def _is_over(self) -> bool:
        """Whether no trial of any kind starts any more."""
        return self._started >= self.limits.n_trials or self._is_past(1.0)

    def _is_searched(self) -> bool:
        """Whether no trial starts that searches."""
        limits = self.limits
        searching = limits.n_trials - reserved(limits.n_trials, limits.confirm)
        if self._study.stopped or self._rule.reason:
            return True
        if self._started - self._confirming >= searching:
            return True
        return bool(limits.confirm) and self._is_past(1 - SHARE)

    def _is_past(self, share: float) -> bool:
        """Whether this share of the sweep's time is over."""
        limit = self.limits.timeout_s
        return limit is not None and self._clock() - self._start_time >= share * limit


def after_first(failure: Outcome, sentence: str) -> SweepError:
    """An error that shows the first failure of a sweep and its consequence.

    Args:
        failure: how the first trial that failed did so.
        sentence: the consequence.
    """
    shown = (failure.detail or failure.reason).rstrip()
    return SweepError(f"{shown}\n{sentence}, the first with this")
