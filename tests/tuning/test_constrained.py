"""A sweep with constraints: what is told to Optuna, and which trial is the best."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, TPESampler
from test_loop import FakeExecutor

from explr.core.objective.constraints import constraints_of
from explr.tuning.account import SweepListener
from explr.tuning.feasibility.failure import Failure
from explr.tuning.loop import SweepLoop
from explr.tuning.search_space import parse
from explr.tuning.study import MEASURED, Study
from explr.tuning.trial import Job, Outcome
from explr.tuning.trial_account import Limits

SPACE, _ = parse({"x": "interval(0, 1)", "y": "interval(0, 1)"})
BOUNDS = {"latency_ms": "<= 5", "size": "< 2"}


def slow_but_good(job: Job) -> Outcome:
    """The larger x the better, and the slower: half of the range is fast enough."""
    x = job.params["x"]
    return Outcome("COMPLETE", (1 - x, 10 * x, 1.0))


def sweep(
    folder: Path,
    behaviour: Any,
    sampler: BaseSampler,
    directions: tuple[str, ...] = ("minimize",),
    bounds: dict[str, str] = BOUNDS,
    listener: SweepListener | None = None,
    **limits: Any,
) -> Study:
    study = Study(folder, "s", list(directions))
    study.use(sampler, None, list(bounds))
    given = Limits(constraints=constraints_of(bounds), **limits)
    loop = SweepLoop(study, lambda values: SPACE, given, listener)
    loop.run(FakeExecutor(behaviour))
    return study


def tpe(seed: int = 0) -> TPESampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)


def test_the_best_satisfies_the_constraints(tmp_path: Path) -> None:
    study = sweep(tmp_path, slow_but_good, tpe(), n_trials=25)
    (best,) = study.front()
    trials = study.frozen()
    assert 0.4 < trials[best].params["x"] <= 0.5
    assert min(t.value for t in trials if t.value is not None) < trials[best].value
    last = trials[-1]
    assert last.user_attrs[MEASURED] == {"latency_ms": 10 * last.params["x"], "size": 1.0}
    assert last.constraints == pytest.approx({"latency_ms": 2 * last.params["x"] - 1, "size": -0.5})


def test_the_sampler_learns_where_they_hold(tmp_path: Path) -> None:
    study = sweep(tmp_path, slow_but_good, tpe(1), n_trials=40)
    later = study.frozen()[15:]
    held = [trial.params["x"] <= 0.5 for trial in later]
    assert sum(held) > len(held) / 3  # without them it would search at x = 1 alone


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "sampler",
    [
        lambda: CmaEsSampler(seed=0, warn_independent_sampling=False),
        lambda: NSGAIISampler(seed=0, population_size=4),
        pytest.param(lambda: GPSampler(seed=0, n_startup_trials=6), marks=pytest.mark.slow),
    ],
    ids=["cmaes", "nsgaii", "gp"],
)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning:optuna")
def test_every_sampler_works_with_failures_too(tmp_path: Path, sampler: Any) -> None:
    def behaviour(job: Job) -> Outcome:
        if job.params["y"] > 0.7:
            return Outcome("FAIL", reason="no luck", failure=Failure.ERROR)
        return slow_but_good(job)

    study = sweep(tmp_path, behaviour, sampler(), n_trials=14)
    assert all(study.frozen()[number].params["x"] <= 0.5 for number in study.front())


def test_no_trial_is_the_best_if_none_satisfies_them(tmp_path: Path) -> None:
    study = sweep(tmp_path, slow_but_good, tpe(), bounds={"a": "< 0", "b": "< 0"}, n_trials=3)
    assert study.front() == []


def test_several_objectives(tmp_path: Path) -> None:
    def behaviour(job: Job) -> Outcome:
        x, y = job.params["x"], job.params["y"]
        return Outcome("COMPLETE", (1 - x, y, 10 * x, 1.0))

    study = sweep(tmp_path, behaviour, tpe(), ("minimize", "minimize"), n_trials=20)
    front = study.front()
    assert front
    assert all(study.frozen()[number].params["x"] <= 0.5 for number in front)
    assert all(len(trial.values) == 2 for trial in study.frozen())


def test_of_replicates_the_mean_counts(tmp_path: Path) -> None:
    def behaviour(job: Job) -> Outcome:
        return Outcome("COMPLETE", (1.0, 4.0 + 2 * job.replicate, 1.0))

    study = sweep(tmp_path, behaviour, tpe(), n_trials=1, replicates=2)
    (trial,) = study.frozen()
    assert trial.user_attrs[MEASURED] == {"latency_ms": 5.0, "size": 1.0}
    assert study.front() == [0]


def test_a_target_is_reached_by_a_trial_that_satisfies_them(tmp_path: Path) -> None:
    study = sweep(tmp_path, slow_but_good, tpe(), n_trials=60, target=0.6)
    reached = [t.params["x"] for t in study.frozen() if t.value is not None and t.value <= 0.6]
    assert 0.4 <= reached[-1] <= 0.5
    assert study.frozen()[-1].params["x"] == reached[-1]


def test_listeners_hear_the_values_of_the_objectives(tmp_path: Path) -> None:
    heard: list[Outcome] = []

    class Listening(SweepListener):
        def ended(self, job: Job, outcome: Outcome) -> None:
            heard.append(outcome)

    sweep(tmp_path, slow_but_good, tpe(), listener=Listening(), n_trials=1)
    (outcome,) = heard
    assert (len(outcome.values), len(outcome.measured)) == (1, 2)
