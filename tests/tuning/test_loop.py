"""The loop of a sweep with a real study, and an executor whose jobs end as a test says."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from optuna.pruners import BasePruner, ThresholdPruner
from optuna.samplers import RandomSampler
from waiting import PATIENCE_S

from explr.core.errors import JobStopped, SweepError
from explr.tuning.account import SweepListener
from explr.tuning.executor import Executor
from explr.tuning.loop import STOP_PATIENCE_S, SweepLoop
from explr.tuning.search_space import parse
from explr.tuning.study import PAUSED, REASON, Study
from explr.tuning.trial import Job, Outcome
from explr.tuning.trial_account import FinishedReplicate, Limits

Behaviour = Callable[[Job], Outcome | None]
"""How a job ends; None lets it run until it is stopped."""

DIED = Outcome("FAIL", reason="killed by signal 9", died=True)
STOPPED = Outcome("RUNNING", reason="ended by a signal")


class FakeExecutor:
    """Jobs that end one at a time; the clock moves only while the loop waits for none."""

    def __init__(self, behaviour: Behaviour, slots: int = 1) -> None:
        self.behaviour = behaviour
        self.slots = slots
        self.now = 0.0
        self.started: list[Job] = []
        self.stopped: list[Job] = []
        self.running: list[Job] = []
        self.most = 0
        self.patience_s: list[float] = []

    def start(self, job: Job) -> None:
        self.started.append(job)
        self.running.append(job)
        self.most = max(self.most, len(self.running))

    def wait(self, timeout_s: float | None) -> list[tuple[Job, Outcome]]:
        for job in self.running:
            outcome = self.behaviour(job)
            if outcome is None and job in self.stopped:
                outcome = STOPPED
            if outcome is not None:
                self.running.remove(job)
                return [(job, outcome)]
        assert timeout_s is not None, "nothing would ever end"
        self.now += timeout_s
        return []

    def stop(self, job: Job, grace_s: float, patience_s: float = 0.0) -> None:
        self.patience_s.append(patience_s)
        self.stopped.append(job)

    def close(self) -> None:
        self.running.clear()


def _conforms(executor: FakeExecutor) -> Executor:
    return executor


class Listener(SweepListener):
    """Remembers what it hears."""

    def __init__(self) -> None:
        self.ends: list[tuple[str, str]] = []
        self.reports: list[tuple[int, int, float]] = []

    def ended(self, job: Job, outcome: Outcome) -> None:
        self.ends.append((job.name, outcome.state))

    def reported(self, key: int, step: int, value: float) -> None:
        self.reports.append((key, step, value))


class Bench:
    """A sweep in a folder, which may be run several times, as by several controllers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.space, _ = parse({"lr": "interval(0, 1)"})
        self.pruner: BasePruner | None = None
        self.sampler: Any = RandomSampler(seed=0)
        self.listener = Listener()

    def loop(self, executor: FakeExecutor, limits: Limits) -> SweepLoop:
        self.study = Study(self.folder, "s", ["minimize"])
        self.study.use(self.sampler, self.pruner)
        return SweepLoop(
            self.study, lambda values: self.space, limits, self.listener, lambda: executor.now
        )

    def run(self, behaviour: Behaviour, slots: int = 1, **limits: Any) -> FakeExecutor:
        executor = FakeExecutor(behaviour, slots)
        self.loop(executor, Limits(**limits)).run(executor)
        return executor

    @property
    def states(self) -> list[str]:
        return [trial.state.name for trial in self.study.frozen()]

    @property
    def reasons(self) -> list[str]:
        return [trial.user_attrs.get(REASON, "") for trial in self.study.frozen()]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def completes(job: Job) -> Outcome:
    return Outcome("COMPLETE", (job.params["lr"],))


def test_every_trial_runs_once_and_never_more_than_fit_at_a_time(bench: Bench) -> None:
    executor = bench.run(completes, slots=2, n_trials=5)
    assert [job.name for job in executor.started] == list("01234")
    assert executor.most == 2
    assert bench.states == ["COMPLETE"] * 5
    assert [t.value for t in bench.study.frozen()] == [t.params["lr"] for t in bench.study.frozen()]
    assert sorted(bench.listener.ends) == [(name, "COMPLETE") for name in "01234"]


def test_no_worker_waits_for_another(bench: Bench) -> None:
    slow = bench.run(
        lambda job: None if job.trial == 0 and len(bench.listener.ends) < 4 else completes(job),
        slots=2,
        n_trials=5,
    )
    assert [name for name, _ in bench.listener.ends] == ["1", "2", "3", "4", "0"]
    assert slow.most == 2


def test_the_number_at_a_time_may_change(bench: Bench) -> None:
    executor = FakeExecutor(completes, slots=3)

    def fewer(job: Job) -> Outcome:
        executor.slots = 1
        return completes(job)

    executor.behaviour = fewer
    bench.loop(executor, Limits(6)).run(executor)
    assert executor.most == 3
    assert [job.trial for job in executor.started] == list(range(6))
    assert executor.slots == 1


def test_a_sampler_that_is_through_ends_the_sweep(bench: Bench) -> None:
    class Through(RandomSampler):
        def after_trial(self, study: Any, trial: Any, state: Any, values: Any) -> None:
            if trial.number == 1:
                study.stop()

    bench.sampler = Through(seed=0)
    bench.run(completes, n_trials=100)
    assert bench.states == ["COMPLETE"] * 2


def test_a_trial_whose_process_died_is_tried_again(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        executor = bench.run(
            lambda job: DIED if job.trial == 0 or not job.attempt else completes(job),
            n_trials=2,
            retries=2,
        )
    assert [(job.trial, job.attempt) for job in executor.started] == [
        (0, 0), (0, 1), (0, 2), (1, 0), (1, 1),
    ]  # fmt: skip
    assert (bench.states, bench.reasons) == (["FAIL", "COMPLETE"], ["killed by signal 9", ""])
    assert bench.listener.ends == [("0", "FAIL"), ("1", "COMPLETE")]  # retries are no ends
    assert caplog.messages == [
        "trial 0: killed by signal 9, trying again",
        "trial 0: killed by signal 9, trying again",
        "trial 1: killed by signal 9, trying again",
    ]


def test_what_a_training_raises_is_not_tried_again(bench: Bench) -> None:
    executor = bench.run(lambda job: Outcome("FAIL", reason="oops"), n_trials=2, retries=2)
    assert len(executor.started) == 2
    assert bench.reasons == ["oops"] * 2


def test_replicates_are_told_as_their_mean(bench: Bench) -> None:
    executor = bench.run(
        lambda job: Outcome("COMPLETE", (float(job.replicate),)), slots=2, n_trials=2, replicates=3
    )
    assert [job.name for job in executor.started] == ["0.0", "0.1", "0.2", "1.0", "1.1", "1.2"]
    assert [trial.value for trial in bench.study.frozen()] == [1.0, 1.0]


def test_one_replicate_that_fails_fails_its_trial_and_stops_the_others(bench: Bench) -> None:
    failed = Outcome("FAIL", reason="oops")
    executor = bench.run(
        lambda job: (failed if job.replicate == 1 else None) if job.trial == 0 else completes(job),
        slots=2,
        n_trials=2,
        replicates=3,
        retries=2,
    )
    assert [job.name for job in executor.started] == ["0.0", "0.1", "1.0", "1.1", "1.2"]
    assert [job.name for job in executor.stopped] == ["0.0"]
    assert (bench.states, bench.reasons) == (["FAIL", "COMPLETE"], ["oops", ""])
    assert ("0.0", "FAIL") in bench.listener.ends


def test_a_trial_that_takes_too_long_is_stopped(bench: Bench) -> None:
    executor = bench.run(
        lambda job: None if job.trial == 0 else completes(job),
        n_trials=2,
        trial_timeout_s=5,
        retries=2,
    )
    assert [job.name for job in executor.stopped] == ["0"]
    assert executor.now == 5
    assert (bench.states, bench.reasons) == (["FAIL", "COMPLETE"], ["timeout after 5 s", ""])


def test_no_trial_begins_after_the_sweeps_own_time(bench: Bench) -> None:
    executor = FakeExecutor(completes)

    def takes_a_second(job: Job) -> Outcome:
        executor.now += 1
        return completes(job)

    executor.behaviour = takes_a_second
    bench.loop(executor, Limits(n_trials=100, timeout_s=2.5)).run(executor)
    assert bench.states == ["COMPLETE"] * 3  # the last one began in time


def test_too_many_failures_end_the_sweep(bench: Bench) -> None:
    def fails(job: Job) -> Outcome | None:
        if job.trial == 6:
            return None
        if job.trial in (0, 3):
            return completes(job)
        return Outcome("FAIL", reason="oops", detail=f"Traceback of {job.trial}\n")

    with pytest.raises(SweepError) as caught:
        bench.run(fails, slots=2, n_trials=50, max_failure_rate=0.5)
    assert str(caught.value) == (
        "Traceback of 1\n3 of 5 trials failed, more than tuner.max_failure_rate=0.5 allows, "
        "the first with this"
    )
    assert bench.states == ["COMPLETE", "FAIL", "FAIL", "COMPLETE", "FAIL", "RUNNING"][:5] + [
        "RUNNING"
    ] * (len(bench.states) - 5)


def test_four_failures_are_too_few_to_give_up(bench: Bench) -> None:
    bench.run(lambda job: Outcome("FAIL", reason="oops"), n_trials=4, max_failure_rate=0.1)
    assert bench.states == ["FAIL"] * 4


def test_where_none_may_fail_the_first_failure_ends_the_sweep(bench: Bench) -> None:
    with pytest.raises(SweepError, match=r"1 of 2 trials failed, more than .*=0 allows"):
        bench.run(
            lambda job: Outcome("FAIL", reason="oops") if job.trial else completes(job),
            n_trials=9,
            max_failure_rate=0.0,
        )
    assert bench.states == ["COMPLETE", "FAIL"]


def test_what_is_to_run_alone_waits_until_it_can(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    beside: dict[str, list[str]] = {}
    executor = FakeExecutor(completes, slots=3)

    def crowded(job: Job) -> Outcome:
        if job.trial == 0 and not job.alone:
            return Outcome("FAIL", reason="out of memory", try_alone=True)
        beside[job.name] = [other.name for other in executor.running if other is not job]
        return completes(job)

    executor.behaviour = crowded
    with caplog.at_level(logging.WARNING):
        bench.loop(executor, Limits(5, retries=0)).run(executor)
    assert caplog.messages == ["trial 0: out of memory, trying again, alone"]
    assert beside["0"] == []
    assert bench.states == ["COMPLETE"] * 5


def test_an_interrupted_sweep_is_resumed(bench: Bench) -> None:
    def interrupted(job: Job) -> Outcome | None:
        if job.trial == 0:
            return completes(job)
        if not executor.stopped:
            raise KeyboardInterrupt
        return completes(job) if job.trial == 1 else None  # it came to its end meanwhile

    executor = FakeExecutor(interrupted, slots=3)
    with pytest.raises(KeyboardInterrupt):
        bench.loop(executor, Limits(5)).run(executor)
    assert sorted(job.trial for job in executor.stopped) == [1, 2, 3]
    assert bench.states == ["COMPLETE", "COMPLETE", "RUNNING", "RUNNING"]
    params = [trial.params for trial in bench.study.frozen()]

    resumed = bench.run(completes, n_trials=5)
    assert [(job.trial, job.attempt) for job in resumed.started] == [(2, 1), (3, 1), (4, 0)]
    assert bench.states == ["COMPLETE"] * 5
    assert [trial.params for trial in bench.study.frozen()][:4] == params


def test_a_listener_that_fails_ends_the_sweep_at_once(bench: Bench) -> None:
    def fails(job: Job) -> None:
        if job.trial == 1:
            raise LookupError("in a listener")

    bench.listener.started = fails  # type: ignore[method-assign]
    executor = FakeExecutor(completes)
    with pytest.raises(LookupError, match="in a listener"):
        bench.loop(executor, Limits(3)).run(executor)
    assert bench.states == ["COMPLETE", "RUNNING"]
    assert executor.now == 0  # nothing was waited for


def test_a_sweep_that_ended_has_nothing_to_resume(bench: Bench) -> None:
    bench.run(completes, n_trials=2)
    assert bench.run(completes, n_trials=2).started == []


def reporting(bench: Bench, executor: FakeExecutor, **limits: Any) -> SweepLoop:
    """A loop whose pruner ends what reports more than 1."""
    bench.pruner = ThresholdPruner(upper=1.0)
    return bench.loop(executor, Limits(**limits))


def test_the_pruner_answers_a_report(bench: Bench) -> None:
    executor = FakeExecutor(completes)
    loop = reporting(bench, executor, n_trials=2)
    asked: list[bool] = []

    def reports(job: Job) -> Outcome:
        asked.extend(loop.report(job.key, step, job.trial + 0.75 * step) for step in (0, 1))
        return Outcome("PRUNED", reason="by the tuner") if asked[-1] else completes(job)

    executor.behaviour = reports
    loop.run(executor)
    assert asked == [False, False, False, True]
    assert bench.states == ["COMPLETE", "PRUNED"]
    assert bench.study.frozen()[1].value == 1.75  # the last that it reported
    assert bench.listener.reports == [(0, 0, 0.0), (0, 1, 0.75), (1, 0, 1.0), (1, 1, 1.75)]


def test_the_pruner_judges_the_mean_of_replicates(bench: Bench) -> None:
    executor = FakeExecutor(completes, slots=2)
    loop = reporting(bench, executor, n_trials=1, replicates=2)
    asked: list[bool] = []

    def reports(job: Job) -> Outcome:
        if not asked:
            for key, step, value in [
                (0, 0, 1.5),
                (1, 0, 0.1),
                (0, 1, 9.0),
                (1, 1, 1.0),
                (0, 2, 0.0),
            ]:
                asked.append(loop.report(key, step, value))
        return completes(job)

    executor.behaviour = reports
    loop.run(executor)
    assert asked == [False, False, False, True, True]
    assert bench.study.frozen()[0].intermediate_values == {0: 0.8, 1: 5.0}


def test_reports_that_cannot_count_are_refused(bench: Bench) -> None:
    executor = FakeExecutor(completes)
    loop = reporting(bench, executor, n_trials=1, trial_timeout_s=5)

    def reports(job: Job) -> Outcome | None:
        if not executor.stopped:
            with pytest.raises(ValueError, match="the objective is NaN at step 2"):
                loop.report(job.key, 2, math.nan)
            with pytest.raises(JobStopped, match="trial 9 must stop"):
                loop.report(9, 0, 0.5)
            return None
        with pytest.raises(JobStopped, match="trial 0 must stop"):  # it was stopped
            loop.report(job.key, 3, 0.5)
        return None

    executor.behaviour = reports
    loop.run(executor)
    assert bench.reasons == ["timeout after 5 s"]
    assert bench.listener.reports == []


def test_a_step_that_is_reported_twice_is_told_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    executor = FakeExecutor(completes)
    loop = reporting(bench, executor, n_trials=3, retries=1)

    def attempts(job: Job) -> Outcome:
        for step in (0, 1):
            loop.report(job.key, step, (job.attempt + 1) / 4)
        return Outcome("FAIL", reason="died", died=True) if not job.attempt else completes(job)

    executor.behaviour = attempts
    with caplog.at_level(logging.WARNING):
        loop.run(executor)
    assert "twice" not in caplog.text  # another attempt reports the same steps again
    loop = reporting(bench, executor, n_trials=6)

    def folds(job: Job) -> Outcome:
        for fold in (0, 1):
            for step in (0, 1):
                loop.report(job.key, step, (fold + 1) / 4)
        return completes(job)

    executor.behaviour = folds
    with caplog.at_level(logging.WARNING):
        loop.run(executor)
    (told,) = [r.getMessage() for r in caplog.records if "twice" in r.getMessage()]
    assert told.startswith("trial 3 has reported step 0 twice, with 0.25 and 0.5: only the first")
    assert bench.study.frozen()[3].intermediate_values == {0: 0.25, 1: 0.25}


def test_a_job_that_reports_is_first_stopped_by_its_next_report(bench: Bench) -> None:
    executor = FakeExecutor(completes)
    loop = reporting(bench, executor, n_trials=2, trial_timeout_s=5)

    def reports(job: Job) -> Outcome | None:
        if job not in executor.stopped and job.trial == 0:
            loop.report(job.key, 0, 0.5)
        return None

    executor.behaviour = reports
    loop.run(executor)
    assert [job.trial for job in executor.stopped] == [0, 1]
    assert executor.patience_s == [STOP_PATIENCE_S, 0]


class Kept(dict[int, FinishedReplicate]):
    """Finished replicates, kept in memory."""

    def load(self, params: Mapping[str, Any]) -> Mapping[int, FinishedReplicate]:
        return dict(self)

    def save(self, params: Mapping[str, Any], finished: Mapping[int, FinishedReplicate]) -> None:
        self.update(finished)


def test_finished_replicates_are_not_run_again(bench: Bench) -> None:
    kept, limits = Kept(), Limits(1, replicates=3)

    def run(last: float) -> list[int]:
        def behaviour(job: Job) -> Outcome:
            value = [0.0, 1.0, last][job.replicate]
            if math.isnan(value):
                raise KeyboardInterrupt
            loop.report(job.key, 0, value)
            return Outcome("COMPLETE", (value,))

        executor = FakeExecutor(behaviour)
        bench.study = Study(bench.folder, "s", ["minimize"])
        loop = SweepLoop(
            bench.study, lambda values: bench.space, limits, kept_of=lambda number: kept
        )
        with suppress(KeyboardInterrupt):
            loop.run(executor)
        return [job.replicate for job in executor.started]

    assert run(last=math.nan) == [0, 1, 2]
    assert kept == {
        0: FinishedReplicate((0.0,), {0: 0}),
        1: FinishedReplicate((1.0,), {0: 1}),
    }
    assert run(last=5.0) == [2]
    (trial,) = bench.study.frozen()
    assert (trial.value, trial.intermediate_values) == (2.0, {0: 2.0})


def test_the_pause_before_a_resumption_is_not_time_trained(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(job: Job) -> Outcome:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench.run(interrupted, n_trials=1)
    now = time.time()
    monkeypatch.setattr("explr.tuning.study.time.time", lambda: now + 36_000)
    bench.run(completes, n_trials=1)
    (trial,) = bench.study.frozen()
    assert trial.user_attrs[PAUSED] == pytest.approx(36_000, abs=PATIENCE_S)
