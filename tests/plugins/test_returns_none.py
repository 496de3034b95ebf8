"""Apps whose task function returns None and reports, or returns a dict."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from apps import CONFIG, App
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig

import explr
from explr.config.compose import TRUSTED
from explr.config.hydra_versions import trusting
from explr.core.errors import SweepError
from explr.core.reporter import NO_VALUE

LINE = ("hydra/sweeper=explr_optuna", "x=choice(1,2)", "hydra/sweeper/sampler=grid")
LOCAL = ("hydra/launcher=explr_local", "hydra.sweeper.n_jobs=2")

CURVE = (4.0, 1.0, 8.0, 2.0)
"""What a training reports of its loss, times x."""


def reports(cfg: DictConfig) -> None:
    for step, value in enumerate(CURVE):
        explr.report(step, accuracy=-float(step), loss=cfg.x * value)


def silent(cfg: DictConfig) -> None:
    pass


def by_name(cfg: DictConfig) -> dict[str, Any]:
    return {"model": "a.pt", "loss": 3 * cfg.x, "cost": 1 / cfg.x}


@pytest.fixture
def app(tmp_path: Path) -> App:
    return App(tmp_path, CONFIG)


def values(result: Any) -> dict[int, Any]:
    """The value of each trial by x."""
    return {trial["params"]["x"]: trial["value"] for trial in result.trials}


METRIC = "hydra.sweeper.metric=loss"


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ((), {1: -3.0, 2: -3.0}),  # of the first metric
        ((METRIC,), {1: 2.0, 2: 4.0}),
        ((METRIC, "hydra.sweeper.reported=best"), {1: 1.0, 2: 2.0}),
        (
            (METRIC, "hydra.sweeper.reported=best", "hydra.sweeper.direction=maximize"),
            {1: 8.0, 2: 16.0},
        ),
    ],
)
def test_a_reported_value_counts(app: App, more: tuple[str, ...], found: dict[int, float]) -> None:
    result = app.sweep(reports, [*LINE, "hydra.sweeper.pruner=null", *more])
    assert values(result) == found
    assert [trial["state"] for trial in result.trials] == ["COMPLETE"] * 2


@pytest.mark.slow
def test_in_processes_with_replicates_a_retry_and_the_callback(
    app: App, tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir(mode=0o700)
    shutil.copyfile(template, tmp_path / "home" / "mlflow.db")
    monkeypatch.setenv("EXPLR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EXPLR_AUTOSTART", "0")
    monkeypatch.delitem(sys.modules, "dying", raising=False)
    (tmp_path / "dying.py").write_text(
        "import os, signal\nfrom pathlib import Path\nimport explr\n\n\n"
        "def train(cfg):\n"
        "    first = not os.path.exists(f'died-{cfg.x}-{cfg.data.seed}')\n"
        "    Path(f'died-{cfg.x}-{cfg.data.seed}').touch()\n"
        "    for step in range(3 if first else 2):\n"
        "        explr.report(step, loss=cfg.x * (step + 1) + cfg.data.seed)\n"
        "    if first:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    from dying import train  # type: ignore[import-not-found]

    line = [*LINE, *LOCAL, "+data.seed=10", "hydra.sweeper.replicates=2", "hydra.sweeper.retries=4",
            "hydra.sweeper.seed_key=data.seed", "hydra/callbacks=explr_mlflow",
            "hydra.callbacks.explr_mlflow.drain_timeout_s=0"]  # fmt: skip
    with trusting(TRUSTED):
        result = app.sweep(train, line)
    # The mean of two seeds; what counts is the last value of the attempt that ended.
    assert values(result) == {1: 2 + 10.5, 2: 4 + 10.5}
    journals = [*Path(result.trials[0]["dir"]).glob("1/journal-*")]
    x = result.trials[0]["params"]["x"]
    assert any(f'"objective",{2.0 * x + 11}' in file.read_text() for file in journals)


@pytest.mark.slow
def test_a_trial_that_an_earlier_controller_left_has_what_it_reported(app: App) -> None:
    """It had come to its end: resumed, it finds nothing to train and reports nothing."""

    def interrupted(cfg: DictConfig) -> None:
        reports(cfg)
        os.kill(os.getpid(), signal.SIGINT)

    line = [*LINE, METRIC, "hydra.sweeper.pruner=null"]
    with pytest.raises(KeyboardInterrupt):
        app.sweep(interrupted, line)
    result = app.sweep(silent, [*line, "hydra.sweeper.n_trials=1"])
    (trial,) = result.trials
    assert (trial["state"], trial["value"]) == ("COMPLETE", 2.0 * trial["params"]["x"])


@pytest.mark.parametrize(
    ("task", "more", "reason"),
    [
        (silent, (), NO_VALUE),
        (reports, ("hydra.sweeper.metric=my_loss",), f"{NO_VALUE} as my_loss"),
        (
            by_name,
            (),
            "returned a dict: set hydra.sweeper.metric to the name of its objective (model, loss, "
            "cost)",
        ),
        (by_name, ("hydra.sweeper.metric=my_loss",), "returned no my_loss: set hydra.sweeper.me"),
        (
            silent,
            ("hydra.sweeper.direction=[minimize,minimize]",),
            "returned 1 values for 2 objectives",
        ),
    ],
)
def test_a_job_without_a_value_says_so(
    app: App, task: Callable[..., Any], more: tuple[str, ...], reason: str
) -> None:
    with pytest.raises((SweepError, ConfigCompositionException)):
        app.sweep(task, [*LINE, *more])
    trials = json.loads(Path("out/results.json").read_text())["trials"]
    assert [trial["state"] for trial in trials] == ["FAIL"] * 2
    assert all(trial["reason"].startswith(reason) for trial in trials)


@pytest.mark.slow
def test_a_dict_has_the_objectives_under_their_names(app: App) -> None:
    assert values(app.sweep(by_name, [*LINE, METRIC])) == {1: 3.0, 2: 6.0}
    both = ["hydra.sweeper.metric=[cost,loss]", "hydra.sweeper.direction=[minimize,minimize]"]
    again = [*LINE, *both, "hydra.sweep.dir=both"]
    assert values(app.sweep(by_name, again)) == {1: [1.0, 3.0], 2: [0.5, 6.0]}


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("reported=first", "hydra.sweeper.reported must be last or best, got 'first'"),
        ("metric=score", "hydra.sweeper.metric=score: the name does not tell whether less or mo"),
        ("metric=[a,b]", "write hydra.sweeper.direction=.….* with minimize or maximize for each"),
    ],
)
def test_settings_that_are_wrong(app: App, setting: str, said: str) -> None:
    with pytest.raises(ConfigCompositionException, match=said):
        app.sweep(reports, [*LINE, f"hydra.sweeper.{setting}"])


@pytest.mark.slow
def test_a_grid_of_hydras_own_under_our_launcher(app: App) -> None:
    returned = app.sweep(reports, ["hydra/launcher=explr_local", "x=1,2"])
    assert [job.return_value for job in returned[0]] == [0.0, -3.0][1:] * 2
    kept = [json.loads(Path(f"out/{number}/explr.json").read_text()) for number in range(2)]
    assert [(job["state"], job["value"]) for job in kept] == [("COMPLETE", -3.0)] * 2


@pytest.fixture
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPLR_HOME", str(tmp_path / "home"))


@pytest.mark.slow
@pytest.mark.usefixtures("_home")
def test_a_training_of_explrs_may_return_none() -> None:
    def train(ctx: explr.TrainingContext) -> None:
        for step, value in enumerate(CURVE):
            ctx.tracker.log_metric("val_loss", ctx.hyperparameters["lr"] * value, step=step)

    line = ["lr=choice(1,2)", "tuner/sampler=grid", "tracking=off", "framework=none",
            "hydra/launcher=basic", "tuner/pruner=none"]  # fmt: skip
    for reported, factor in {"last": 2.0, "best": 1.0}.items():
        study = f"tuner.study_name={reported}"
        result = explr.tune([*line, f"objective.reported={reported}", study], train)
        found = {trial["params"]["lr"]: trial["value"] for trial in result.trials}
        assert found == {1: factor, 2: 2 * factor}
    config = explr.compose(["tracking=off", "framework=none", "lr=1"])
    assert explr.run(config, train).primary_metric == 2.0
