"""What a sweep from Python gives back: a DataFrame, and charts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import explr
from explr import TrainingContext, TrainingResult, TrialPruned
from explr.core.errors import UsageError
from explr.results.tune_result import TuneResult


def train(ctx: TrainingContext) -> float:
    if ctx.trial_number == 5:
        ctx.report(0, val_loss=9.0)
        raise TrialPruned
    for step in range(3):
        ctx.report(step, val_loss=ctx.hyperparameters["lr"] + 1 / (step + 1))
    return float(ctx.hyperparameters["lr"])


def two(ctx: TrainingContext) -> TrainingResult:
    lr = ctx.hyperparameters["lr"]
    return TrainingResult(lr, metrics={"latency": 1 - lr})


LINE = ["tracking=off", "hydra/launcher=basic", "tuner/sampler=random", "tuner/pruner=none"]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> TuneResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("tuned"))
        ranges = ["lr=interval(0.1,1)", "+kind=choice(a,b)"]
        return explr.tune([*LINE, *ranges], train, n_trials=6)


@pytest.mark.slow
def test_the_data_frame_has_a_row_a_trial(found: TuneResult) -> None:
    frame = found.dataframe()
    assert list(frame["number"]) == [0, 1, 2, 3, 4, 5]
    assert list(frame["state"]) == ["COMPLETE"] * 5 + ["PRUNED"]
    assert list(frame["params_lr"]) == [trial["params"]["lr"] for trial in found.trials]
    assert set(frame["params_kind"]) <= {"a", "b"}
    assert found.best is not None
    complete = frame[frame["state"] == "COMPLETE"]
    assert complete.loc[complete["value"].idxmin(), "number"] == found.best["number"]
    assert (frame["duration_s"] >= 0).all()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("history", ()),
        ("intermediate", ()),
        ("parallel", ()),
        ("slice", ("lr",)),
        ("edf", ()),
        ("timeline", ()),
    ],
)
def test_each_chart_is_a_figure_of_plotly(
    found: TuneResult, name: str, arguments: tuple[str, ...]
) -> None:
    figure = getattr(found, f"plot_{name}")(*arguments)
    assert len(figure.data) > 0
    told = [trace.text for trace in figure.data if trace.customdata is not None]
    assert all(text.startswith("trial ") for texts in told for text in texts if text)
    assert "<svg" not in figure.to_json()


def test_a_notebook_shows_the_best_of_it(found: TuneResult) -> None:
    shown = found._repr_html_()
    assert found.best is not None
    first = re.findall(r"<tr><td>(\d+)</td>", shown)[0]
    assert int(first) == found.best["number"]
    assert "6 trials: 5 complete, 1 pruned" in shown
    assert "1 pruned trial saved about 2 of 18 steps" in shown


@pytest.mark.slow
def test_several_objectives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    goals = ["objective.metric=[val_loss,latency]", "objective.direction=[minimize,minimize]"]
    line = [*LINE[:3], "lr=interval(0.1,1)", *goals]
    found = explr.tune(line, two, n_trials=3)
    frame = found.dataframe()
    assert list(frame["values_0"] + frame["values_1"]) == pytest.approx([1, 1, 1])
    assert "value" not in frame
    assert "<th>values_1</th>" in found._repr_html_()
    assert [trace.name for trace in found.plot_pareto().data] == ["complete", "Pareto front"]
    assert found.plot_hypervolume().data[0].y[-1] > 0
    assert found.plot_slice("lr", 1).layout.yaxis.title.text == "latency"


def test_a_chart_that_cannot_be_is_told(found: TuneResult) -> None:
    with pytest.raises(UsageError, match="A Pareto front needs several objectives"):
        found.plot_pareto()
    with pytest.raises(UsageError, match="from 20 completed trials on; 5 are completed"):
        found.plot_importances()
    for name in ("contour", "rank"):
        with pytest.raises(UsageError, match="This needs 10 completed trials"):
            getattr(found, f"plot_{name}")()
    with pytest.raises(UsageError, match="lrr is not searched: the parameters are lr, kind"):
        found.plot_slice("lrr")
    with pytest.raises(UsageError, match="there is no history of a sweep that wrote nothing"):
        TuneResult(None, [], None).plot_history()


@pytest.mark.slow
def test_a_grid_has_a_data_frame_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = explr.tune(["tuner=none", "tracking=off", "lr=0.5,0.25"], train)
    assert list(found.dataframe()["value"]) == [0.5, 0.25]
    assert list(found.plot_history().data[0].y) == [0.5, 0.25]
