"""The quick percentile pruners against Optuna's own: equal decisions, whatever the history."""

from __future__ import annotations

import math
import random
import warnings
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.pruners import BasePruner, NopPruner
from optuna.trial import FrozenTrial

from explr.tuning import percentile
from explr.tuning.completed import ValuesAtStep, completed_of
from explr.tuning.search_space import SearchSpace
from explr.tuning.study import Study

Pair = tuple[BasePruner, BasePruner]


class Both(BasePruner):
    """Asks both pruners and keeps what they say."""

    def __init__(self, ours: BasePruner, theirs: BasePruner) -> None:
        self._ours = ours
        self._theirs = theirs
        self.said: list[tuple[bool, bool]] = []

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """See `BasePruner.prune`."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # numpy's, for steps without a number
            self.said.append((self._ours.prune(study, trial), self._theirs.prune(study, trial)))
        return self.said[-1][1]


def pair(draw: random.Random) -> Pair:
    """Two pruners that were given the same."""
    settings: dict[str, Any] = {
        "n_startup_trials": draw.choice([0, 1, 5]),
        "n_warmup_steps": draw.choice([0, 2, 5]),
        "interval_steps": draw.choice([1, 2, 3]),
        "n_min_trials": draw.choice([1, 3, 8]),
    }
    if draw.random() < 0.3:
        return percentile.MedianPruner(**settings), optuna.pruners.MedianPruner(**settings)
    percent = draw.choice([0.0, 25.0, 33.3, 50.0, 90.0, 100.0])
    return (
        percentile.PercentilePruner(percent, **settings),
        optuna.pruners.PercentilePruner(percent, **settings),
    )


def value(draw: random.Random) -> float:
    """A value that a training may report; ties are frequent."""
    odd = draw.random()
    if odd < 0.05:
        return draw.choice([math.inf, -math.inf, math.nan])
    return float(draw.randint(0, 5)) if odd < 0.5 else draw.random() * 5


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("seed", range(12))
def test_they_decide_as_optunas_own(tmp_path: Path, direction: str, seed: int) -> None:
    draw = random.Random(f"{direction}-{seed}")
    both = Both(*pair(draw))
    study = Study(tmp_path, "s", [direction])
    study.use(optuna.samplers.RandomSampler(seed=seed), both)
    running: list[int] = []
    for turn in range(400):
        if turn == 200:  # another controller goes on
            study = Study(tmp_path, "s", [direction])
            study.use(optuna.samplers.RandomSampler(seed=seed), both)
            study.unfinished(lambda values: SearchSpace())
        if not running or (len(running) < 4 and draw.random() < 0.2):
            running.append(study.ask(lambda values: SearchSpace())[0])
        number = draw.choice(running)
        steps = study.frozen()[number].intermediate_values
        asked_to_end = study.report(
            number, max(steps, default=-1) + draw.choice([1, 1, 2]), value(draw)
        )
        if asked_to_end or draw.random() < 0.1:
            running.remove(number)
            state = draw.choice(["PRUNED", "FAIL"]) if asked_to_end else "COMPLETE"
            study.tell(number, state, [1.0] if state == "COMPLETE" else [])  # type: ignore[arg-type]
    assert len(both.said) == 400
    assert [ours for ours, _ in both.said] == [theirs for _, theirs in both.said]


def test_these_histories_prune_and_keep(tmp_path: Path) -> None:
    both = Both(percentile.MedianPruner(2), optuna.pruners.MedianPruner(2))
    study = Study(tmp_path, "s", ["minimize"])
    study.use(None, both)
    for end in (1.0, 2.0, 3.0):
        number, _ = study.ask(lambda values: SearchSpace())
        study.report(number, 0, end)
        study.tell(number, "COMPLETE", [end])
    good, _ = study.ask(lambda values: SearchSpace())
    bad, _ = study.ask(lambda values: SearchSpace())
    assert not study.report(good, 0, 2.0)
    assert study.report(bad, 0, 2.1)


def test_a_percentile_is_numpys_to_the_last_bit() -> None:
    import numpy

    draw = random.Random(0)
    for size in (1, 2, 3, 10, 101):
        values = [draw.uniform(-1, 1) * 10 ** draw.randint(-9, 9) for _ in range(size)]
        at = ValuesAtStep()
        for one in [*values, math.nan]:
            at.add(one)
        assert at.count == size + 1
        for percent in (0, 12.5, 33.3, 50, 66.7, 99.9, 100):
            assert at.percentile(percent) == float(numpy.nanpercentile(values, percent))
    assert math.isnan(ValuesAtStep().percentile(50))


def test_a_study_of_somebody_elses_is_pruned_as_by_optuna() -> None:
    study = optuna.create_study(pruner=percentile.MedianPruner(1))
    assert completed_of(study) is None
    study.add_trial(optuna.trial.create_trial(value=1.0, intermediate_values={0: 1.0}))
    trial = study.ask()
    trial.report(2.0, 0)
    assert trial.should_prune()
    study.pruner = NopPruner()
    assert not trial.should_prune()
