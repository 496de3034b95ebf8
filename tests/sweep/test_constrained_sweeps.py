"""Sweeps and grids whose best trial must satisfy constraints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sweeping import BASIC

import explr
from explr import TrainingContext, TrainingResult
from explr.core.errors import ConfigError
from explr.results.best import load_best
from explr.results.grid import own_grid
from explr.results.listing import listed_below
from explr.results.report.drawn import Drawn
from explr.results.report.figures import history
from explr.results.sweep import read_sweep
from explr.tuning.confirmation.confirming import leading_trials

BOUNDS = 'objective.constraints={latency_ms:"<= 5",size:"< 9"}'


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def logs_and_returns(ctx: TrainingContext) -> TrainingResult:
    x = ctx.hyperparameters["x"]
    ctx.tracker.log_metric("latency_ms", 99.0, step=0)
    ctx.report(1, latency_ms=float(x))
    return TrainingResult(-float(x), metrics={"size": 1.0})


def tuned(training: Any, *more: str) -> Any:
    line = ["tracking=off", BASIC, "tuner=optuna", "tuner/sampler=grid", "+x=range(1,9)"]
    return explr.tune([*line, "tuner.study_name=s", *more], training)


def test_the_best_is_one_that_satisfies_them(capsys: pytest.CaptureFixture[str]) -> None:
    swept = tuned(logs_and_returns, BOUNDS)
    assert swept.best["params"] == {"x": 5}
    assert [t["feasible"] for t in sorted(swept.trials, key=lambda t: t["params"]["x"])] == (
        [True] * 5 + [False] * 3
    )
    assert swept.best["constraints"] == {"latency_ms": 5.0, "size": 1.0}
    out = capsys.readouterr().out
    assert "3 of 8 completed trials violate the constraints" in out
    assert "best: trial" in out
    folder = Path("multirun/s")
    assert load_best(folder).params == {"x": 5}
    results = json.loads((folder / "results.json").read_text())
    assert results["best"]["params"] == {"x": 5}
    assert "3 of 8 completed trials violate the constraints" in (folder / "report.html").read_text()
    drawn = Drawn(read_sweep(folder), 0)
    traces = {trace.name: trace for trace in history(drawn).data}
    assert len(traces["complete"].x) == 5
    assert len(traces["infeasible"].x) == 3
    assert min(filter(None, traces["best so far"].y)) == -5.0
    (listed,) = listed_below(Path("multirun"))
    assert listed.value == -5.0
    assert "3 of 8" in swept._repr_html_()
    ended = json.loads((folder / str(swept.best["number"]) / "result.json").read_text())
    assert (ended["feasible"], ended["constraints"]["latency_ms"]) == (True, 5.0)


def test_no_best_trial(capsys: pytest.CaptureFixture[str]) -> None:
    swept = tuned(logs_and_returns, 'objective.constraints={latency_ms:"< 0"}')
    assert swept.best is None
    assert "8 of 8 completed trials violate the constraints" in capsys.readouterr().out
    (listed,) = listed_below(Path("multirun"))
    assert (listed.state, listed.value) == ("complete", None)
    with pytest.raises(explr.core.errors.UsageError, match="satisfies the constraints"):
        load_best("multirun/s")


def test_a_training_without_the_metric_fails() -> None:
    with pytest.raises(explr.core.errors.SweepError) as caught:
        tuned(lambda ctx: 1.0, BOUNDS)
    assert (
        "objective.constraints has latency_ms, which the training neither returned nor logged: "
        "return a TrainingResult with latency_ms among its metrics, or log it"
    ) in str(caught.value)
    results = json.loads(Path("multirun/s/results.json").read_text())
    assert {trial["failure"] for trial in results["trials"]} == {"invalid result"}


@pytest.mark.parametrize("text", ['{latency_ms:"=< 5"}', "{latency_ms:fast}"])
def test_what_is_no_bound_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        tuned(logs_and_returns, f"objective.constraints={text}")
    (fault,) = set(caught.value.faults)
    assert fault.startswith("objective.constraints.latency_ms=")
    assert caught.value.exit_code == 2


def test_several_objectives() -> None:
    def both(ctx: TrainingContext) -> TrainingResult:
        x = float(ctx.hyperparameters["x"])
        return TrainingResult(-x, metrics={"cost": x, "latency_ms": x})

    swept = tuned(
        both, 'objective.constraints={latency_ms:"<= 5"}', "objective.metric=[val_loss,cost]",
        "objective.direction=[minimize,minimize]",
    )  # fmt: skip
    assert sorted(trial["params"]["x"] for trial in swept.front) == [1, 2, 3, 4, 5]


def test_a_single_training_says_whether_it_satisfies_them() -> None:
    config = explr.compose(["tracking=off", "+x=7", BOUNDS])
    explr.run(config, logs_and_returns, "out")
    ended = json.loads(Path("out/result.json").read_text())
    assert (ended["feasible"], ended["constraints"]) == (False, {"latency_ms": 7.0, "size": 1.0})


def test_a_grid() -> None:
    for x in range(1, 9):
        folder = Path(f"grid/{x - 1}")
        explr.run(explr.compose(["tracking=off", f"+x={x}", BOUNDS]), logs_and_returns, folder)
        ended = json.loads((folder / "result.json").read_text())
        (folder / "result.json").write_text(json.dumps({**ended, "number": x - 1}))
    grid = own_grid(Path("grid"), sorted(Path("grid").iterdir()))
    assert grid is not None
    assert grid.best is not None
    assert grid.best.value == -5.0
    assert len(grid.ranked) == 5
    assert [trial.number for trial in leading_trials(grid.study("grid"))] == [4]
