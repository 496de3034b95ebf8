"""What the search makes of what Ray tells it; a real study, and no Ray that runs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy
import pytest
from optuna.pruners import ThresholdPruner
from optuna.samplers import RandomSampler
from ray.tune import Experiment, Trainable
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from explr.core.errors import SweepError, UsageError
from explr.sweep.ray.messages import (
    Ended,
    KnownEnd,
    Message,
    Refused,
    Reported,
    from_result,
    to_result,
)
from explr.sweep.ray.schedulers import Past, StudyScheduler, SweepScheduler, rays_own
from explr.sweep.ray.search import StudySearch, Watch
from explr.tuning.account import SweepAccount, SweepListener
from explr.tuning.feasibility.failure import FAILURE, Failure
from explr.tuning.search_space import parse
from explr.tuning.study import PARAMS, REASON, Study
from explr.tuning.trial import Job, Outcome
from explr.tuning.trial_account import Limits


class Listener(SweepListener):
    """Remembers what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    def started(self, job: Job) -> None:
        self.heard.append(("started", job.trial, job.attempt))

    def changed(self, job: Job) -> None:
        self.heard.append(("changed", job.trial, job.params))

    def reported(self, key: int, step: int, value: float) -> None:
        self.heard.append(("reported", key, step, value))

    def ended(self, job: Job, outcome: Outcome) -> None:
        self.heard.append((outcome.state, job.trial))


class Suggestions:
    """Chooses the parameters of two trials."""

    def __init__(self) -> None:
        self.given: list[str] = []
        self.completed: list[tuple[str, float | None]] = []

    def suggest(self, suggestion: str) -> dict[str, Any] | None:
        if len(self.given) == 2:
            return None
        self.given.append(suggestion)
        return {"lr": 0.25 * len(self.given)}

    def complete(self, suggestion: str, value: float | None) -> None:
        self.completed.append((suggestion, value))


class Bench:
    """A sweep in a folder, whose search may be made several times, as by several controllers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.space, _ = parse({"lr": "interval(0, 1)"})
        self.suggest: Suggestions | None = None
        self.pruner: Any = None
        self.now = 0.0

    def search(self, live: int = 2, **limits: Any) -> StudySearch:
        self.study = Study(self.folder, "s", ["minimize"])
        self.study.use(RandomSampler(seed=0), self.pruner)
        account = SweepAccount(
            self.study, lambda values: self.space, Limits(**limits), self.suggest, lambda: self.now
        )
        self.listener = Listener()
        search = StudySearch(account, live, self.listener)
        experiment = Experiment("e", Trainable, storage_path=str(self.folder))
        search.add_configurations([experiment])
        self.account = account
        return search

    @property
    def states(self) -> list[str]:
        return [trial.state.name for trial in self.study.frozen()]

    @property
    def reasons(self) -> list[str]:
        return [trial.user_attrs.get(REASON, "") for trial in self.study.frozen()]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    # A class that is to be trained is registered with a Ray that runs.
    monkeypatch.setattr(Experiment, "register_if_needed", lambda run: "Trainable")
    monkeypatch.setattr("ray.tune.experiment.trial.validate_trainable", lambda name: None)
    return Bench(tmp_path)


def begun(search: StudySearch) -> Trial:
    """The next trial, which starts."""
    trial = search.next_trial()
    assert trial is not None, search.verdict
    search.started(trial)
    return trial


def done(value: float, *deaths: str) -> dict[str, Any]:
    return to_result(Ended(1, Outcome("COMPLETE", (value,)), deaths))


FAILED = to_result(Ended(0, Outcome("FAIL", reason="oops", detail="Traceback of it\n")))


@pytest.mark.parametrize(
    "message",
    [
        Reported(3, 0.5, ("killed by signal 9",)),
        Ended(4, Outcome("COMPLETE", (0.5,))),
        Ended(0, Outcome("COMPLETE", (0.5, 2.0)), ("died", "died again")),
        Ended(0, Outcome("FAIL", (), "oops", Failure.ERROR, detail="Traceback")),
        Ended(4, Outcome("COMPLETE", (0.5,), measured=(3.0, 1.0))),
        Refused("no module named trainings"),
        KnownEnd(),
    ],
)
def test_a_message_survives_a_result_of_rays(message: Message) -> None:
    assert from_result({**to_result(message), "training_iteration": 1}) == message


def test_as_many_trials_as_ray_may_hold(bench: Bench) -> None:
    search = bench.search(n_trials=3)
    one, two = begun(search), begun(search)
    assert search.next_trial() is None
    assert not search.is_finished()
    search.on_trial_complete(one.trial_id, done(0.5))
    three = begun(search)
    assert [trial.trial_id for trial in (one, two, three)] == ["0", "1", "2"]
    for trial in (two, three):
        search.on_trial_complete(trial.trial_id, done(0.25))
    assert search.next_trial() is None
    assert search.is_finished()
    assert [trial.value for trial in bench.study.frozen()] == [0.5, 0.25, 0.25]
    assert bench.listener.heard[:3] == [("started", 0, 0), ("started", 1, 0), ("COMPLETE", 0)]


def test_no_trial_begins_after_the_sweeps_own_time(bench: Bench) -> None:
    search = bench.search(n_trials=9, timeout_s=5)
    trial = begun(search)
    bench.now = 5.0
    search.on_trial_complete(trial.trial_id, done(0.5))
    assert search.next_trial() is None
    assert search.is_finished()


def test_deaths_that_the_actor_made_good_count_as_attempts(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    search = bench.search(n_trials=1)
    trial = begun(search)
    with caplog.at_level(logging.WARNING):
        search.on_trial_result(trial.trial_id, to_result(Reported(0, 0.5, ("one",))))
        search.on_trial_result(trial.trial_id, to_result(Reported(1, 0.4, ("one",))))
        search.on_trial_complete(trial.trial_id, done(0.4, "one", "two"))
    assert caplog.messages == ["trial 0: one, trying again", "trial 0: two, trying again"]
    (frozen,) = bench.study.frozen()
    assert frozen.user_attrs["explr.attempts"] == 3
    assert frozen.intermediate_values == {0: 0.5, 1: 0.4}


def test_a_step_that_is_reported_twice_is_told_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    search = bench.search(n_trials=1)
    trial = begun(search)
    search.on_trial_result(trial.trial_id, to_result(Reported(0, 0.5)))
    search.on_trial_result(trial.trial_id, to_result(Reported(0, 0.4, ("died",))))
    search.started(trial)  # it was paused, and goes on from a checkpoint
    search.on_trial_result(trial.trial_id, to_result(Reported(0, 0.3)))
    assert "twice" not in caplog.text
    for _ in range(2):
        search.on_trial_result(trial.trial_id, to_result(Reported(0, 0.25)))
    told = [text for text in caplog.messages if "twice" in text]
    assert len(told) == 1
    assert told[0].startswith("trial 0 has reported step 0 twice, with 0.3 and 0.25")
    assert bench.study.frozen()[0].intermediate_values == {0: 0.5}


def test_a_trial_whose_ray_worker_died_starts_anew(bench: Bench) -> None:
    search = bench.search(n_trials=1)
    trial = begun(search)
    search.recovered(trial)
    search.started(trial)
    assert bench.listener.heard == [("started", 0, 0), ("started", 0, 1)]
    search.on_trial_complete(trial.trial_id, error=True)
    assert (bench.states, bench.reasons) == (["FAIL"], ["its Ray worker died"])
    assert bench.study.frozen()[0].user_attrs[FAILURE] == "worker lost"


def test_what_ray_ends_is_pruned_and_keeps_its_last_report(bench: Bench) -> None:
    search = bench.search(n_trials=1)
    trial = begun(search)
    search.on_trial_result(trial.trial_id, to_result(Reported(0, 0.9)))
    search.on_trial_complete(trial.trial_id, to_result(Reported(1, 0.7)))
    (frozen,) = bench.study.frozen()
    assert (frozen.state.name, frozen.value) == ("PRUNED", 0.7)
    assert bench.reasons == ["the tuner ends this trial"]
    assert bench.listener.heard[1:] == [
        ("reported", 0, 0, 0.9),
        ("reported", 0, 1, 0.7),
        ("PRUNED", 0),
    ]


def test_the_pruner_of_the_study_decides_where_ray_has_none(bench: Bench) -> None:
    bench.pruner = ThresholdPruner(upper=1.0)
    search = bench.search(n_trials=1)
    trial, scheduler = begun(search), StudyScheduler(search)
    assert scheduler.on_trial_result(None, trial, to_result(Reported(0, 0.5))) == "CONTINUE"
    assert scheduler.on_trial_result(None, trial, to_result(Reported(1, 1.5))) == "STOP"
    assert scheduler.on_trial_result(None, trial, done(0.5)) == "CONTINUE"


class Deciding(FIFOScheduler):
    """Stops at every report from a step on, and remembers the ends that it hears."""

    def __init__(self, step: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._step = step
        self.heard: list[tuple[str, float | None]] = []

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        self.heard.append(("result", result["objective"]))
        return "STOP" if result["step"] >= self._step else "CONTINUE"

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        self.heard.append(("complete", result["objective"]))

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        self.heard.append(("error", None))


def test_a_trial_that_rays_scheduler_stops_ends_by_itself(bench: Bench) -> None:
    search, inner, pruned = bench.search(n_trials=1), Deciding(1), list[int]()
    trial, scheduler = begun(search), SweepScheduler(inner, pruned.append)
    for step in range(4):
        report = to_result(Reported(step, 0.5))
        assert scheduler.on_trial_result(None, trial, report) == "CONTINUE"
    scheduler.on_trial_complete(None, trial, to_result(Ended(4, Outcome("PRUNED"))))
    assert inner.heard == [("result", 0.5), ("result", 0.5), ("complete", 0.5)]
    assert pruned == [0]


@pytest.mark.parametrize(
    "end", [FAILED, to_result(KnownEnd()), to_result(Ended(1, Outcome("PRUNED")))]
)
def test_rays_scheduler_reads_no_value_where_there_is_none(
    bench: Bench, end: dict[str, Any]
) -> None:
    search, inner = bench.search(n_trials=1), Deciding(9)
    trial, scheduler = begun(search), SweepScheduler(inner, lambda trial: None)
    scheduler.on_trial_complete(None, trial, end)
    assert inner.heard == [("error", None)]
    scheduler.on_trial_complete(None, trial, done(0.25))
    assert inner.heard[1:] == [("complete", 0.25)]


@pytest.mark.parametrize("pruner", ["SuccessiveHalvingPruner", "MedianPruner", "HyperbandPruner"])
def test_rays_scheduler_knows_the_trials_before_it(bench: Bench, pruner: str) -> None:
    numpy.random.seed(0)  # by which Ray gives a trial to a bracket of Hyperband
    node = {"_target_": f"optuna.pruners.{pruner}"}
    if pruner == "MedianPruner":
        node |= {"n_startup_trials": 2}
    past = [
        Past("5", {0: 0.3, 1: 0.2}, 0.25),
        Past("6", {0: 0.4, 1: 0.3}),
        Past("7", {0: 0.9, 1: 0.9, 2: 0.9, 3: 0.9}),
        Past("8", {}),
    ]
    search = bench.search(n_trials=2)
    for trials, prunes in (((), []), (past, [1])):
        pruned: list[int] = []
        scheduler = SweepScheduler(rays_own(node, bench.space), pruned.append, trials)
        assert scheduler.set_search_properties("objective", "min")
        trial = begun(search)
        scheduler.on_trial_add(None, trial)
        scheduler.on_trial_result(None, trial, to_result(Reported(1, 0.9)))
        assert pruned == prunes


def test_a_resumed_trial_has_the_parameters_that_it_had_last(bench: Bench) -> None:
    search = bench.search(live=3, n_trials=2)
    trials = [begun(search), begun(search)]
    for trial in trials:
        trial.config["params"] = {"lr": 0.125}
        search.started(trial)
    resumed = bench.search(live=3, n_trials=2)
    older = trials[0]  # as Ray's snapshot has it
    older.config["params"] = dict(bench.study.frozen()[0].params)
    Watch(resumed).on_step_begin(0, [older])
    resumed.started(older)
    assert bench.study.frozen()[0].user_attrs[PARAMS] == older.config["params"]
    assert begun(resumed).config["params"] == {"lr": 0.125}
    assert bench.listener.heard == [("started", 0, 1), ("started", 1, 1)]


def test_a_trial_may_continue_with_other_parameters(bench: Bench) -> None:
    search = bench.search(n_trials=1)
    trial = begun(search)
    trial.config["params"] = {"lr": 0.125}
    search.started(trial)
    assert bench.listener.heard == [("started", 0, 0), ("changed", 0, {"lr": 0.125})]
    search.on_trial_complete(trial.trial_id, done(0.5))
    assert bench.study.frozen()[0].user_attrs[PARAMS] == {"lr": 0.125}


def test_too_many_failures_end_rays_loop(bench: Bench) -> None:
    search = bench.search(live=6, n_trials=9, max_failure_rate=0.5)
    watch, trials = Watch(search), [begun(search) for _ in range(6)]
    for trial in trials[:2]:
        search.on_trial_complete(trial.trial_id, done(0.5))
    for trial in trials[2:5]:
        watch.on_step_end(1, trials)
        search.on_trial_complete(trial.trial_id, FAILED)
    with pytest.raises(SweepError, match="3 of 5 trials failed") as caught:
        watch.on_step_end(1, trials)
    assert str(caught.value).startswith("Traceback of it\n")
    search.on_trial_complete(trials[5].trial_id, to_result(Reported(0, 0.5)))  # Ray stops it
    assert bench.states == ["COMPLETE", "COMPLETE", "FAIL", "FAIL", "FAIL", "RUNNING"]


def test_what_is_refused_leaves_its_trial_unfinished(bench: Bench) -> None:
    search = bench.search(n_trials=2)
    trial = begun(search)
    search.on_trial_complete(trial.trial_id, to_result(Refused("no module named trainings")))
    assert isinstance(search.verdict, UsageError)
    assert str(search.verdict) == "no module named trainings"
    assert bench.states == ["RUNNING"]


def test_what_goes_wrong_in_a_listener_is_the_verdict(bench: Bench) -> None:
    search = bench.search(n_trials=1)
    bench.listener.ended = lambda job, outcome: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    trial = begun(search)
    search.on_trial_complete(trial.trial_id, done(0.5))
    with pytest.raises(ZeroDivisionError):
        Watch(search).on_step_end(1, [trial])


def test_a_search_algorithm_of_somebody_elses_is_asked_and_told(bench: Bench) -> None:
    bench.suggest = Suggestions()
    search = bench.search(n_trials=9)
    one, two = begun(search), begun(search)
    assert [one.config["params"], two.config["params"]] == [{"lr": 0.25}, {"lr": 0.5}]
    search.on_trial_complete(one.trial_id, done(0.5))
    search.on_trial_complete(two.trial_id, FAILED)
    first, second = bench.suggest.given
    assert bench.suggest.completed == [(first, 0.5), (second, None)]
    assert search.next_trial() is None  # it has no more
    assert search.is_finished()


def test_an_interrupted_sweep_is_resumed_with_and_without_rays_own_trials(bench: Bench) -> None:
    search = bench.search(live=4, n_trials=5)
    trials = [begun(search) for _ in range(4)]
    search.on_trial_complete(trials[0].trial_id, done(0.5))
    before = [trial.params for trial in bench.study.frozen()]

    resumed = bench.search(n_trials=5)
    known, lost = trials[:2], trials[2:]  # Ray's last snapshot was taken before those began
    Watch(resumed).on_step_begin(0, known)
    for trial in known:
        resumed.started(trial)
        resumed.on_trial_complete(
            trial.trial_id, to_result(KnownEnd()) if trial is known[0] else done(1)
        )
    again = [begun(resumed), begun(resumed)]
    assert [trial.trial_id for trial in again] == [trial.trial_id for trial in lost]
    for trial in again:
        resumed.on_trial_complete(trial.trial_id, done(1))
    resumed.on_trial_complete(begun(resumed).trial_id, done(1))
    assert resumed.next_trial() is None
    assert bench.states == ["COMPLETE"] * 5
    assert [trial.params for trial in bench.study.frozen()][:4] == before
    assert [entry for entry in bench.listener.heard if entry[0] == "started"] == [
        ("started", 1, 1), ("started", 2, 1), ("started", 3, 1), ("started", 4, 0),
    ]  # fmt: skip
