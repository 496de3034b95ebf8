"""Searches that stop early: a target is reached, or little is left to gain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from optuna.samplers import RandomSampler
from test_confirmation import SPACE, Runs

from explr.tuning.loop import SweepLoop
from explr.tuning.stopping.rule import StoppingRule
from explr.tuning.study import Study
from explr.tuning.trial import Job
from explr.tuning.trial_account import Limits


def told(rule: StoppingRule, *values: float | None) -> StoppingRule:
    for number, value in enumerate(values):
        rule.ended(number, value)
    return rule


@pytest.mark.parametrize(("minimize", "values"), [(True, [0.5, 0.1]), (False, [0.1, 0.5])])
def test_a_target_is_reached(minimize: bool, values: list[float]) -> None:
    rule = StoppingRule(minimize, target=0.3)
    assert told(rule, values[0]).reason == ""
    rule.ended(1, values[1])
    assert rule.reason == f"trial 1 has reached the target 0.3 with {values[1]:g}"


def test_the_gain_is_expected_from_the_later_half() -> None:
    """Of the later ten two improve the best value, by 2 and by 1."""
    values = [50.0] * 10 + [50.0, 48.0, 60.0, None, 47.0, None, None, 60.0, 60.0, 60.0]
    rule = told(StoppingRule(True, least_gain=0.4), *values)
    assert rule.expected_gain() == pytest.approx((2 + 1) / (10 + 1) * 1.5)
    assert rule.reason == ""
    rule.ended(20, None)
    rule.ended(21, None)
    assert rule.expected_gain() == pytest.approx((2 + 1) / (11 + 1) * 1.5)
    assert rule.reason == "a further trial is expected to gain 0.38, less than stop_when=0.4"


def test_nothing_is_expected_before_the_twentieth_trial_or_a_first_gain() -> None:
    assert told(StoppingRule(True, least_gain=9), *([1.0] * 10 + [0.5] * 9)).expected_gain() is None
    assert told(StoppingRule(True, least_gain=9), *[1.0] * 50).reason == ""
    assert told(StoppingRule(True, least_gain=9), *[None] * 50).reason == ""


def test_the_last_gain_counts_where_none_is_recent() -> None:
    rule = told(StoppingRule(False), 1.0, 1.5, *[1.0] * 38)
    assert rule.expected_gain() == pytest.approx(1 / 21 * 0.5)


def sweep(folder: Path, runs: Runs, **limits: Any) -> Study:
    study = Study(folder, "s", ["minimize"])
    study.use(RandomSampler(seed=3), None)
    SweepLoop(study, lambda values: SPACE, Limits(**limits)).run(runs)
    return study


def falling(job: Job) -> float:
    return 100.0 - job.trial


def test_a_sweep_ends_with_its_target_and_says_so_also_after_it_is_resumed(tmp_path: Path) -> None:
    runs = Runs(falling, slots=2)
    study = sweep(tmp_path, runs, n_trials=50, target=95.0)
    assert len(runs.jobs) == 7  # one ran beside it
    reason = "trial 5 has reached the target 95 with 95"
    assert study.stop_reason == reason
    again = Runs(falling)
    assert sweep(tmp_path, again, n_trials=50, target=95.0).stop_reason == reason
    assert again.jobs == []
    further = Runs(falling)
    study = sweep(tmp_path, further, n_trials=50, target=90.0)
    assert study.stop_reason == "trial 10 has reached the target 90 with 90"
    assert len(further.jobs) == 4


def test_what_stops_early_is_confirmed_too(tmp_path: Path) -> None:
    runs = Runs(lambda job: falling(job) if not job.seed else 90.0 + job.seed)
    sweep(tmp_path, runs, n_trials=50, target=95.0, confirm=2)
    assert [job.seed > 0 for job in runs.jobs][:10] == [False] * 6 + [True] * 4
