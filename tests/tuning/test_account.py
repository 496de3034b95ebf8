"""The account of one trial: its jobs, time limit, retries, and the mean of its replicates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest

from explr.core.reporter import NO_VALUE
from explr.tuning.feasibility.failure import Failure
from explr.tuning.trial import Job, Outcome
from explr.tuning.trial_account import Limits, TrialAccount

DIED = Outcome("FAIL", reason="killed by signal 9", died=True)
RAISED = Outcome("FAIL", reason="ValueError: oops")


@dataclass
class Clock:
    """A clock that a test turns."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def begun(limits: Limits, clock: Clock | None = None) -> tuple[TrialAccount, list[Job]]:
    """A trial whose jobs all run."""
    trial = TrialAccount(7, {"lr": 0.5}, limits, clock or Clock())
    jobs = trial.jobs(attempt=1)
    for job in jobs:
        trial.start(job)
    return trial, jobs


def done(value: float) -> Outcome:
    return Outcome("COMPLETE", (value,))


def test_a_trial_ends_as_its_only_job_does() -> None:
    for outcome in (done(0.5), RAISED, Outcome("PRUNED", reason="by the tuner")):
        trial, (job,) = begun(Limits(1))
        assert (job.trial, job.replicate, job.attempt) == (7, 0, 1)
        ending = trial.end(job, outcome)
        assert (ending.outcome, ending.again, ending.result) == (outcome, None, outcome)
        assert trial.ended
        assert trial.running == []


def test_the_values_of_replicates_become_their_mean() -> None:
    trial, (one, two) = begun(Limits(1, replicates=2))
    assert trial.end(two, Outcome("COMPLETE", (1.0, 4.0))).result is None
    assert not trial.ended
    ending = trial.end(one, Outcome("COMPLETE", (2.0, 0.0)))
    assert ending.outcome.values == (2.0, 0.0)
    assert ending.result == Outcome("COMPLETE", (1.5, 2.0))


@pytest.mark.parametrize(
    ("limits", "values"),
    [
        ({}, (1.0, 4.0)),
        ({"reported": "best"}, (0.5, 3.0)),
        ({"reported": "best", "minimize": False}, (2.0, 4.0)),
    ],
)
def test_a_job_without_a_value_has_one_that_it_reported(
    limits: dict[str, Any], values: tuple[float, float]
) -> None:
    trial, (one, two) = begun(Limits(1, replicates=2, **limits))
    for step, value in enumerate((0.5, 2.0, 1.0)):
        trial.report(0, step, value)
    for step, value in ((5, 3.0), (0, 4.0)):  # the last in time, whatever its step
        trial.report(1, step, value)
    assert trial.end(one, Outcome("COMPLETE")).outcome.values == values[:1]
    ending = trial.end(two, Outcome("COMPLETE"))
    assert ending.outcome.values == values[1:]
    assert ending.result == done(sum(values) / 2)


def test_a_retry_goes_on_from_what_the_attempt_before_reported() -> None:
    trial, (job,) = begun(Limits(1, retries=2))
    trial.report(0, 7, 0.25)
    trial.start(trial.end(job, DIED).again or job)
    ending = trial.end(job, Outcome("COMPLETE"))  # it had come to its end before it died
    assert ending.result == done(0.25)


@pytest.mark.parametrize(("limits", "named"), [({}, ""), ({"metric": "loss"}, " as loss")])
def test_a_job_without_a_value_and_a_report_fails(limits: dict[str, Any], named: str) -> None:
    trial, (job,) = begun(Limits(1, **limits))
    assert trial.end(job, Outcome("COMPLETE")).result == Outcome(
        "FAIL", reason=NO_VALUE + named, failure=Failure.INVALID
    )


@pytest.mark.parametrize("outcome", [RAISED, Outcome("PRUNED", reason="hopeless")])
def test_the_first_replicate_that_does_not_complete_decides(outcome: Outcome) -> None:
    trial, (one, two, three) = begun(Limits(1, retries=1, replicates=3))
    assert trial.end(one, done(0.5)).result is None
    assert trial.end(two, outcome).result == outcome
    assert trial.running == [three]
    late = trial.end(three, DIED)  # it was stopped: neither tried again nor counted
    assert (late.again, late.result) == (None, None)


def test_a_job_whose_process_died_is_tried_again_as_often_as_allowed() -> None:
    trial, (job,) = begun(Limits(1, retries=2))
    for count in (1, 2):
        again = trial.end(job, DIED).again
        assert again == job
        assert trial.deaths == ("killed by signal 9",) * count
        trial.start(job)
    assert trial.end(job, DIED).result == DIED
    assert len(trial.deaths) == 2  # the last one was not replaced


def test_retries_are_the_trials_and_not_each_replicates() -> None:
    trial, (one, two) = begun(Limits(1, retries=1, replicates=2))
    assert trial.end(one, DIED).again == one
    assert trial.end(two, DIED).result == DIED


def test_a_process_that_somebody_else_stopped_has_died() -> None:
    trial, (job,) = begun(Limits(1))
    stopped = Outcome("RUNNING", reason="ended by a signal")
    result = trial.end(job, stopped).result
    assert result == Outcome("FAIL", (), "ended by a signal", Failure.KILLED, died=True)


def test_to_be_tried_alone_costs_no_retry() -> None:
    trial, (job,) = begun(Limits(1, retries=0))
    again = trial.end(job, Outcome("FAIL", reason="out of memory", died=True, try_alone=True)).again
    assert again is not None
    assert again.alone
    assert trial.deaths == ()
    trial.start(again)
    assert trial.end(again, DIED).result == DIED


def test_a_job_that_exceeds_its_time_has_failed_however_it_ends(clock: Clock) -> None:
    trial, (one, two) = begun(Limits(1, trial_timeout_s=5, retries=3, replicates=2), clock)
    clock.now += 2
    assert trial.left_s == 3
    assert trial.overdue() == []
    assert trial.end(one, done(0.5)).result is None
    trial.start(one)  # another start has a time of its own
    clock.now += 3
    assert trial.left_s == 0
    assert trial.overdue() == [two]
    assert trial.overdue() == []  # each is named once
    assert trial.left_s == 2
    late = Outcome("FAIL", (), "timeout after 5 s", Failure.TIMEOUT)
    assert trial.end(two, done(0.5)).result == late


def test_without_a_limit_nothing_is_overdue(clock: Clock) -> None:
    trial, _ = begun(Limits(1), clock)
    clock.now += 1e9
    assert trial.left_s is None
    assert trial.overdue() == []


def test_a_step_counts_when_all_replicates_have_reported_it() -> None:
    trial, _ = begun(Limits(1, replicates=2))
    assert trial.report(0, 0, 1.0) is None
    assert trial.report(0, 1, 5.0) is None
    assert trial.report(1, 0, 2.0) == 1.5
    assert trial.report(1, 0, 4.0) == 2.5  # the attempt before reported it too
    with pytest.raises(ValueError, match="the objective is NaN at step 3"):
        trial.report(1, 3, math.nan)
