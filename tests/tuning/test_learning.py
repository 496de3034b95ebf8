"""Failed trials teach the sampler, unless an accident made them fail."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import pytest
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIISampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import TrialState
from test_loop import Behaviour, Bench, FakeExecutor

from explr.tuning.feasibility.failure import FAILURE, Failure
from explr.tuning.feasibility.learning import FAILED, Taught, taught
from explr.tuning.loop import SweepLoop
from explr.tuning.search_space import parse
from explr.tuning.study import Study
from explr.tuning.trial import Job, Outcome
from explr.tuning.trial_account import Limits

WALL, _ = parse({"w": "interval(0, 1)", "b": "interval(0, 1)"})
TPE = {"n_startup_trials": 10, "multivariate": True, "group": True, "constant_liar": True}


def quick(job: Job) -> float:
    return (job.params["w"] - 0.6) ** 2 + (job.params["b"] - 0.5) ** 2


def memory_wall(job: Job) -> Outcome:
    """A training that runs out of memory beside its optimum."""
    if job.params["w"] * job.params["b"] > 0.25:
        return Outcome("FAIL", reason="out of memory", failure=Failure.OUT_OF_MEMORY)
    return Outcome("COMPLETE", (quick(job),))


def tpe(seed: int) -> TPESampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # these options are experimental
        return TPESampler(seed=seed, **TPE)


def sweep(
    folder: Path,
    behaviour: Behaviour,
    sampler: BaseSampler,
    directions: tuple[str, ...] = ("minimize",),
    **limits: Any,
) -> Study:
    study = Study(folder, "s", list(directions))
    study.use(sampler, None)
    executor = FakeExecutor(behaviour)
    SweepLoop(study, lambda values: WALL, Limits(**limits)).run(executor)
    return study


def failures(study: Study) -> int:
    return sum(trial.state is TrialState.FAIL for trial in study.frozen())


def test_a_sampler_leaves_what_runs_out_of_memory(tmp_path: Path) -> None:
    study = sweep(tmp_path, memory_wall, tpe(1), n_trials=60)
    assert failures(study) <= 0.3 * 60  # 50 without the lesson, 24 at random
    values = [trial.value for trial in study.frozen() if trial.value is not None]
    assert min(values) < 0.02
    kinds = {t.user_attrs.get(FAILURE) for t in study.frozen() if t.state is TrialState.FAIL}
    assert kinds == {"out of memory"}


def drawn(folder: Path, failure: Failure | None, *, fails: int = 3, **limits: Any) -> list[Any]:
    """What a sampler draws if some trials fail in a way."""

    def behaviour(job: Job) -> Outcome:
        if job.trial % 4 == 1 and job.trial < 4 * fails:
            return Outcome("FAIL", reason="no luck", failure=failure)
        return Outcome("COMPLETE", (quick(job),))

    folder.mkdir()
    study = sweep(folder, behaviour, tpe(0), n_trials=20, **limits)
    return [trial.params for trial in study.frozen()]


def test_accidents_teach_nothing(tmp_path: Path) -> None:
    untaught = drawn(tmp_path / "unknown", None)
    for failure in Failure:
        params = drawn(tmp_path / failure.name, failure)
        assert (params == untaught) == failure.is_accident


def test_a_worker_that_is_killed_is_retried_and_teaches_nothing(tmp_path: Path) -> None:
    killed = Outcome("FAIL", reason="killed by signal 9", failure=Failure.KILLED, died=True)

    def at_random(job: Job) -> Outcome:
        if not job.attempt and job.trial % 3 == 0:
            return killed
        return memory_wall(job)

    (tmp_path / "killed").mkdir()
    (tmp_path / "whole").mkdir()
    runs = [
        sweep(tmp_path / name, behaviour, tpe(3), n_trials=25, retries=1)
        for name, behaviour in (("killed", at_random), ("whole", memory_wall))
    ]
    assert [t.params for t in runs[0].frozen()] == [t.params for t in runs[1].frozen()]
    assert failures(runs[0]) == failures(runs[1])


def test_a_full_disk_is_retried(tmp_path: Path) -> None:
    full = Outcome("FAIL", reason="no space left at /", failure=Failure.DISK_FULL)
    study = sweep(
        tmp_path,
        lambda job: Outcome("COMPLETE", (1.0,)) if job.attempt == 2 else full,
        RandomSampler(seed=0),
        n_trials=1,
        retries=2,
    )
    assert [trial.state.name for trial in study.frozen()] == ["COMPLETE"]


def test_a_resumed_sweep_remembers_its_failures(tmp_path: Path) -> None:
    sweep(tmp_path, memory_wall, tpe(1), n_trials=30)
    study = sweep(tmp_path, memory_wall, tpe(31), n_trials=60)
    assert failures(study) <= 0.35 * 60


@pytest.mark.parametrize(
    "sampler",
    [
        CmaEsSampler(seed=0, warn_independent_sampling=False),
        NSGAIISampler(seed=0, population_size=5),
        pytest.param(lambda: GPSampler(seed=0, n_startup_trials=8), marks=pytest.mark.slow),
    ],
    ids=["cmaes", "nsgaii", "gp"],
)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning:optuna")
def test_other_samplers_take_the_lesson(tmp_path: Path, sampler: Any) -> None:
    made = sampler() if callable(sampler) else sampler
    study = sweep(tmp_path, memory_wall, made, n_trials=16)
    assert 0 < failures(study) < 16


def test_several_objectives(tmp_path: Path) -> None:
    def both(job: Job) -> Outcome:
        failed = memory_wall(job)
        return failed if not failed.values else Outcome("COMPLETE", (*failed.values, 1.0))

    directions = ("minimize", "maximize")
    study = sweep(tmp_path, both, tpe(0), directions, n_trials=30)
    assert 0 < failures(study) < 15


def test_what_a_sampler_is_shown(tmp_path: Path) -> None:
    """Failed trials are the worst; those that run, or failed by accident, are as they are."""
    ends = [
        Outcome("COMPLETE", (1.0,)),
        Outcome("COMPLETE", (math.inf,)),
        Outcome("FAIL", reason="NaN", failure=Failure.DIVERGED),
        Outcome("FAIL", reason="killed", failure=Failure.KILLED),
        Outcome("COMPLETE", (3.0,)),
    ]
    study = Study(tmp_path, "s", ["minimize"])
    looking = Looking()
    study.use(looking, None)
    for end in ends:
        number, _ = study.ask(lambda values: WALL)
        study.tell(number, end.state, end.values, end.reason, end.failure)
    study.ask(lambda values: WALL)
    assert looking.seen == [
        ("COMPLETE", 1.0, -1.0),
        ("COMPLETE", math.inf, -1.0),
        ("COMPLETE", 3.0, 1.0),
        ("FAIL", None, -1.0),
        ("COMPLETE", 3.0, -1.0),
        ("RUNNING", None, None),
    ]
    assert [trial.state.name for trial in study.frozen()][2] == "FAIL"
    assert not any(trial.constraints for trial in study.frozen())


class Looking(BaseSampler):
    """Remembers the trials that it was shown last."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, float | None, float | None]] = []

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
        return {}

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        self.seen = [
            (each.state.name, each.value, each.constraints.get(FAILED)) for each in study.trials
        ]
        return {}

    def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> Any:
        return 0.5


def test_samplers_that_look_at_no_values_stay_as_they_are() -> None:
    assert type(taught(RandomSampler())) is RandomSampler
    wrapped = taught(TPESampler())
    assert isinstance(wrapped, Taught)
    assert taught(wrapped) is wrapped


def test_what_failed_is_in_the_loop(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.run(lambda job: None, n_trials=1, trial_timeout_s=5)
    assert [trial.user_attrs[FAILURE] for trial in bench.study.frozen()] == ["timeout"]
