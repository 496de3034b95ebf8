"""The multi-fidelity TPE: which trials it compares by what, and what it learns from that."""

from __future__ import annotations

import logging
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from explr.tuning.feasibility.failure import Failure
from explr.tuning.samplers.mftpe import MultiFidelityTPE
from explr.tuning.samplers.rungs import END, Shown, rung_of
from explr.tuning.search_space import SearchSpace, parse
from explr.tuning.study import Study

pytestmark = pytest.mark.filterwarnings("ignore:Argument ``group``")

X = FloatDistribution(0, 1)
SPACE, _ = parse({"x": "interval(0, 1)", "y": "interval(0, 1)"})


def trial(state: str, *values: float, steps: Sequence[int] = (), **more: Any) -> FrozenTrial:
    """A trial that has reported values, by default at steps 0, 1, …"""
    at = dict(zip(steps or range(len(values)), values, strict=True))
    return create_trial(
        state=TrialState[state],
        value=values[-1] if state == "COMPLETE" else None,
        params={"x": 0.5},
        distributions={"x": X},
        intermediate_values=at,
        **more,
    )


def shown(trials: Sequence[FrozenTrial], enough: int, direction: str = "minimize") -> list[Any]:
    """State and value of each trial that a sampler sees."""
    study = optuna.create_study(direction=direction)
    study.add_trials(trials)
    found = Shown().trials(study, study.get_trials(), enough)
    return [
        (each.number, each.state.name[0], None if each.state.name != "COMPLETE" else each.value)
        for each in found
    ]


COMPLETE = trial("COMPLETE", 5, 4, 3, 2)
PRUNED = [trial("PRUNED", 9), trial("PRUNED", 8, 7), trial("PRUNED", 6, 6)]


@pytest.mark.parametrize(("enough", "rung"), [(1, END), (2, 1), (3, 1), (4, 0), (9, 0)])
def test_the_rung_is_the_last_stop_that_enough_trials_have_reached(
    enough: int, rung: float
) -> None:
    assert rung_of([COMPLETE, *PRUNED], enough) == rung


def test_a_rung_is_a_step_at_which_a_trial_was_stopped() -> None:
    running = trial("RUNNING", 5, 4, 3)
    assert rung_of([running, running, *PRUNED], 2) == 1
    assert rung_of([COMPLETE, running], 2) == END


def test_trials_are_compared_at_the_rung_and_those_below_are_left_out() -> None:
    assert shown([COMPLETE, *PRUNED], 3) == [(0, "C", 4), (2, "C", 7), (3, "C", 6)]
    assert shown([COMPLETE, *PRUNED], 9) == [(0, "C", 5), (1, "C", 9), (2, "C", 8), (3, "C", 6)]
    assert shown([COMPLETE, *PRUNED], 1) == [(0, "C", 2)]


def test_trials_that_ran_to_their_end_are_shown_as_they_are() -> None:
    assert shown([COMPLETE, COMPLETE], 9) == [(0, "C", 2), (1, "C", 2)]
    assert shown([], 9) == []


def test_a_running_trial_counts_once_it_has_reached_the_rung() -> None:
    trials = [*PRUNED[1:], trial("RUNNING", 4, 3, 2), trial("RUNNING", 1), trial("RUNNING")]
    assert shown(trials, 2) == [(0, "C", 7), (1, "C", 6), (2, "C", 3), (3, "R", None),
                                (4, "R", None)]  # fmt: skip


def test_reports_may_be_sparse_and_begin_at_any_step() -> None:
    trials = [
        trial("PRUNED", 9, 8, steps=(5, 10)),
        trial("PRUNED", 7, 6, steps=(7, 12)),
        trial("PRUNED", 5, steps=(12,)),
    ]
    assert shown(trials, 3) == [(0, "C", 8), (1, "C", 7), (2, "C", 5)]
    assert shown(trials, 2) == [(1, "C", 6), (2, "C", 5)]


def test_a_short_training_has_reached_each_rung() -> None:
    trials = [trial("COMPLETE", 3, 2), trial("PRUNED", 9, 8, 7, 6), trial("PRUNED", 9, 8, 7, 5)]
    assert shown(trials, 3) == [(0, "C", 2), (1, "C", 6), (2, "C", 5)]
    silent = create_trial(value=1.0)
    assert shown([silent, *trials[1:]], 3)[0] == (0, "C", 1)


@pytest.mark.parametrize(("direction", "worst"), [("minimize", math.inf), ("maximize", -math.inf)])
def test_nan_is_worse_than_all(direction: str, worst: float) -> None:
    trials = [trial("PRUNED", math.nan), trial("PRUNED", 1)]
    assert shown(trials, 2, direction) == [(0, "C", worst), (1, "C", 1)]


def test_failed_and_infeasible_trials_stay_what_they_are() -> None:
    infeasible = trial("COMPLETE", 1, 1)
    infeasible.set_constraint("memory", 1.0)
    trials = [infeasible, trial("FAIL"), trial("PRUNED", 3), trial("PRUNED", 2, 2)]
    assert shown(trials, 2) == [(0, "C", 1), (1, "F", None), (2, "C", 3), (3, "C", 2)]


def sampler(seed: int) -> MultiFidelityTPE:
    """As the config chooses it."""
    return MultiFidelityTPE(seed=seed, multivariate=True, group=True)


class Sweep:
    """Trials whose value is `x`, and all of which but the first are pruned at their first report.

    Args:
        folder: folder of the sweep.
        chosen: chooses the parameters.
    """

    def __init__(self, folder: Path, chosen: optuna.samplers.BaseSampler) -> None:
        folder.mkdir(exist_ok=True)
        self.study = Study(folder, "s", ["minimize"])
        self.study.use(chosen, None)
        self.params: list[dict[str, Any]] = []

    def run(self, n_trials: int, space: SearchSpace = SPACE, prune: bool = True) -> Sweep:
        """Run trials."""
        for _ in range(n_trials):
            number, params = self.study.ask(lambda values: space)
            self.params.append(params)
            self.study.report(number, 0, params["x"])
            if prune and number:
                self.study.tell(number, "PRUNED")
            else:
                self.study.tell(number, "COMPLETE", (params["x"],))
        return self


def test_it_learns_from_trials_that_were_all_pruned(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, sampler(1)).run(50)
    assert statistics.median(params["x"] for params in sweep.params[30:]) < 0.15


def test_without_a_pruned_trial_it_is_optunas_tpe(tmp_path: Path) -> None:
    ours = sampler(1)
    theirs = TPESampler(seed=1, n_startup_trials=7, multivariate=True, group=True)
    assert (
        Sweep(tmp_path / "ours", ours).run(30, prune=False).params
        == Sweep(tmp_path / "theirs", theirs).run(30, prune=False).params
    )


def test_a_resumed_study_has_the_same_evidence(tmp_path: Path) -> None:
    Sweep(tmp_path / "a", sampler(1)).run(30)
    Sweep(tmp_path / "b", sampler(1)).run(30)
    once = Sweep(tmp_path / "a", sampler(2)).run(5)
    again = Sweep(tmp_path / "b", sampler(2)).run(5)
    assert once.params == again.params


def test_it_learns_from_failed_trials_too(tmp_path: Path) -> None:
    study = Study(tmp_path, "s", ["maximize"])
    study.use(sampler(1), None)
    failed = []
    for _ in range(60):
        number, params = study.ask(lambda values: SPACE)
        failed.append(params["x"] > 0.5)
        if failed[-1]:
            study.tell(number, "FAIL", failure=Failure.OUT_OF_MEMORY)
        else:
            study.report(number, 0, params["x"])
            study.tell(number, "PRUNED")
    assert sum(failed[20:]) <= 15


def test_conditional_spaces_with_choices(tmp_path: Path) -> None:
    def active(values: Mapping[str, Any]) -> SearchSpace:
        ranges = {"x": "interval(0, 1)", "kind": "choice(a, b)"}
        if "kind" in values:
            ranges |= {f"{values['kind']}.z": "interval(0, 1)"}
        return parse(ranges)[0]

    study = Study(tmp_path, "s", ["minimize"])
    study.use(sampler(3), None)
    kinds = []
    for turn in range(60):
        number, params = study.ask(active)
        (name,) = params.keys() - {"x", "kind"}
        assert name == f"{params['kind']}.z"
        study.report(number, turn % 2, params["x"] + (params["kind"] == "b") + params[name])
        study.tell(number, "PRUNED")
        kinds.append(params["kind"])
    assert kinds[30:].count("a") > 20


def test_several_workers_do_not_repeat_a_running_trial(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, sampler(1)).run(20)
    asked = [sweep.study.ask(lambda values: SPACE)[1] for _ in range(8)]
    assert len({params["x"] for params in asked}) == 8


def test_several_objectives_take_optunas_tpe_and_say_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def sampled(folder: str, chosen: optuna.samplers.BaseSampler) -> list[dict[str, Any]]:
        (tmp_path / folder).mkdir()
        study = Study(tmp_path / folder, "s", ["minimize", "minimize"])
        study.use(chosen, None)
        params = []
        for _ in range(15):
            number, found = study.ask(lambda values: SPACE)
            study.tell(number, "COMPLETE", (found["x"], found["y"]))
            params.append(found)
        return params

    with caplog.at_level(logging.INFO, "explr.sweep"):
        ours = sampled("ours", sampler(1))
    assert ours == sampled(
        "theirs", TPESampler(seed=1, n_startup_trials=7, multivariate=True, group=True)
    )
    assert [r.getMessage() for r in caplog.records] == [
        "several objectives: no trial is pruned, so tuner/sampler=mftpe is tpe"
    ]


def test_the_number_of_trials_is_checked() -> None:
    with pytest.raises(ValueError, match="n_min_trials must be at least 1, got 0"):
        MultiFidelityTPE(0)
