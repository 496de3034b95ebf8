"""Confirmation of the best trials with fresh seeds: the race, and the trials that run it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from optuna.pruners import ThresholdPruner
from optuna.samplers import RandomSampler

from explr.sweep.space import parse
from explr.tuning.confirmation.confirming import confirm_fault, reserved, with_reserve
from explr.tuning.confirmation.race import Race
from explr.tuning.loop import SweepLoop
from explr.tuning.study import Study
from explr.tuning.trial import Job, Outcome
from explr.tuning.trial_account import Limits


def test_what_is_clearly_worse_drops_out_and_the_last_one_has_won() -> None:
    race = Race({4: [0.10, 0.11, 0.10], 7: [0.30, 0.31, 0.30], 2: [0.50, 0.51, 0.50]}, True)
    assert (race.winner, race.left) == (4, [4])
    first, *others = race.standings()
    assert (first.number, first.trainings, first.tied) == (4, 3, True)
    assert first.mean == pytest.approx(0.31 / 3)
    assert [(each.number, each.tied) for each in others] == [(7, False), (2, False)]
    assert Race({4: [0.1, 0.11], 7: [0.9, 0.91]}, minimize=False).winner == 7


def test_there_is_no_winner_where_seeds_matter_more() -> None:
    race = Race({1: [0.10, 0.30, 0.20], 2: [0.12, 0.29, 0.21]}, True)
    assert (race.winner, race.left) == (None, [1, 2])
    assert [each.tied for each in race.standings()] == [True, True]


def test_nothing_is_compared_before_each_has_two_fresh_trainings() -> None:
    race = Race({1: [0.1, 0.1], 2: [0.9], 3: []}, True)
    assert (race.winner, race.left) == (None, [1, 2, 3])
    assert [each.number for each in race.standings()] == [1, 2]
    lonely = Race({1: [0.1], 2: [0.9]}, True).standings()
    assert [(each.low, each.high) for each in lonely] == [(None, None)] * 2


def test_the_winner_of_a_training_that_repeats_exactly_is_the_better_one() -> None:
    race = Race({1: [0.1, 0.1], 2: [0.2, 0.2]}, True)
    assert race.winner == 1
    assert (race.standings()[0].low, race.standings()[0].high) == (0.1, 0.1)
    assert Race({1: [0.1, 0.1], 2: [0.1, 0.1]}, True).winner is None


def test_a_further_training_lies_within_its_interval_as_often_as_promised() -> None:
    """By 4,000 races of trials with the same mean; the generator has a fixed seed."""
    draw = random.Random(1)
    inside = winners = 0
    for _ in range(1000):
        race = Race({n: [draw.gauss(0, 1) for _ in range(3)] for n in range(4)}, True)
        winners += race.winner is not None
        for each in race.standings():
            assert each.low is not None
            assert each.high is not None
            inside += each.low <= draw.gauss(0, 1) <= each.high
    assert inside / 4000 >= 0.95
    assert winners / 1000 <= 0.05  # none is better


def test_how_much_of_the_sweep_is_kept() -> None:
    assert [reserved(n, 5) for n in (20, 40, 100, 1000)] == [10, 10, 25, 50]
    assert reserved(100, 0) == 0
    assert with_reserve(30, 3) == 40
    assert with_reserve(30, 0) == 30
    assert confirm_fault(20, 5, "tuner") == ""
    assert confirm_fault(19, 5, "tuner") == (
        "tuner.confirm=5 trains each of the 5 best at least 2 times again, out of 19 trials: set "
        "tuner.n_trials=20 or more"
    )
    assert "compares nothing" in confirm_fault(100, 1, "tuner")


class Runs:
    """Runs jobs one after the other; a function gives their values."""

    def __init__(self, value: Any, slots: int = 1, until: int = 10**9) -> None:
        self.slots, self._value, self._until = slots, value, until
        self.jobs: list[Job] = []
        self._running: list[Job] = []

    def start(self, job: Job) -> None:
        self.jobs.append(job)
        self._running.append(job)

    def wait(self, timeout_s: float | None) -> list[tuple[Job, Outcome]]:
        if len(self.jobs) > self._until:
            raise KeyboardInterrupt
        job = self._running.pop(0)
        value = self._value(job)
        if value is None:
            return [(job, Outcome("FAIL", reason="oops"))]
        return [(job, Outcome("COMPLETE", (value,)))]

    def stop(self, job: Job, grace_s: float, patience_s: float = 0.0) -> None:
        self._running.remove(job)

    def close(self) -> None:
        self._running.clear()


SPACE, _ = parse({"x": "range(0, 100)"})


def sweep(folder: Path, runs: Runs, **limits: Any) -> Study:
    study = Study(folder, "s", ["minimize"])
    study.use(RandomSampler(seed=3), ThresholdPruner(upper=-1.0))
    SweepLoop(study, lambda values: SPACE, Limits(**limits)).run(runs)
    return study


def noisy(job: Job) -> float:
    """Its value follows from its parameter, and a little from its seed."""
    return float(job.params["x"]) + random.Random(job.seed).random()


def confirmed(study: Study) -> Sequence[Mapping[str, Any]]:
    attributes = [trial.user_attrs for trial in study.frozen()]
    return [each["explr.confirms"] for each in attributes if "explr.confirms" in each]


def test_the_last_trials_train_the_best_ones_again_with_seeds_of_their_own(tmp_path: Path) -> None:
    runs = Runs(lambda job: job.seed % 7 if job.seed else float(job.params["x"]))
    study = sweep(tmp_path, runs, n_trials=24, confirm=3)
    searched, again = runs.jobs[:18], runs.jobs[18:]
    assert {job.seed for job in searched} == {0}
    best = sorted(searched, key=lambda job: (job.params["x"], job.trial))
    values = list(dict.fromkeys(job.params["x"] for job in best))[:3]
    assert [job.params["x"] for job in again] == values * 2
    assert [job.seed for job in again] == [1, 2, 3, 4, 5, 6]
    assert len(confirmed(study)) == 6
    assert {each["compared"] for each in confirmed(study)} == {3}


def test_a_race_that_is_decided_ends_the_sweep(tmp_path: Path) -> None:
    runs = Runs(noisy)
    study = sweep(tmp_path, runs, n_trials=100, confirm=2)
    assert 75 + 4 <= len(runs.jobs) < 100
    assert study.front() == [min(runs.jobs[:75], key=lambda job: job.params["x"]).trial]


def test_the_one_that_is_better_with_fresh_seeds_is_the_best(tmp_path: Path) -> None:
    """The search's best was lucky."""
    found: list[float] = []

    def value(job: Job) -> float:
        x = float(job.params["x"])
        if not job.seed:
            found.append(x)
            return x
        lucky = min(found)
        return 1000.0 + job.seed / 100 if x == lucky else x + job.seed / 100

    study = sweep(tmp_path, Runs(value), n_trials=40, confirm=2)
    (best,) = study.front()
    assert study.frozen()[best].params["x"] == sorted(set(found))[1]


def test_no_training_that_confirms_is_pruned(tmp_path: Path) -> None:
    study = Study(tmp_path, "s", ["minimize"])
    study.use(RandomSampler(seed=3), ThresholdPruner(upper=-1.0))
    answers: dict[int, bool] = {}
    loop = SweepLoop(study, lambda values: SPACE, Limits(8, confirm=2))

    def value(job: Job) -> float:
        answers[job.trial] = loop.report(job.key, 1, float(job.params["x"]))
        return float(job.params["x"])

    loop.run(Runs(value))
    assert [answers[number] for number in range(8)] == [True] * 4 + [False] * 4


def test_a_resumed_sweep_goes_on_with_the_race(tmp_path: Path) -> None:
    first = Runs(noisy, until=19)
    with pytest.raises(KeyboardInterrupt):
        sweep(tmp_path, first, n_trials=24, confirm=3)
    second = Runs(noisy)
    study = sweep(tmp_path, second, n_trials=24, confirm=3)
    # The one that was cut off keeps its seed.
    assert second.jobs[0].seed == first.jobs[-1].seed > 0
    seeds = [each["seed"] for each in confirmed(study)]
    assert len(set(seeds)) == len(seeds) >= 4


def test_a_trial_that_fails_again_and_again_is_not_compared(tmp_path: Path) -> None:
    runs = Runs(lambda job: None if job.seed and job.params["x"] == lowest else noisy(job))
    lowest = min(job.params["x"] for job in searched(tmp_path / "first", 30))
    runs = Runs(lambda job: None if job.seed and job.params["x"] == lowest else noisy(job))
    study = sweep(tmp_path, runs, n_trials=40, confirm=3)
    (best,) = study.front()
    assert study.frozen()[best].params["x"] > lowest
    failed = [job for job in runs.jobs if job.seed and job.params["x"] == lowest]
    assert len(failed) == 2


def searched(folder: Path, count: int) -> list[Job]:
    """The jobs of a sweep that confirms nothing."""
    folder.mkdir()
    runs = Runs(noisy)
    sweep(folder, runs, n_trials=count)
    return runs.jobs


def test_replicates_have_seeds_of_their_own_too(tmp_path: Path) -> None:
    runs = Runs(noisy)
    sweep(tmp_path, runs, n_trials=12, confirm=2, replicates=3)
    seeds = [job.seed + job.replicate for job in runs.jobs if job.seed]
    assert len(set(seeds)) == len(seeds)
    assert min(seeds) >= 3
