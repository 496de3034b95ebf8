"""What a sweep leaves behind."""

from __future__ import annotations

import json
import logging
import shlex
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from sweeping import BASIC, DRAIN, Workshop

import explr
from explr import TrainingContext
from explr.runner.cli.resume import resume

TOP = ["format", "study", "direction", "command", "n_trials", "best", "trials"]
TRIAL = [
    "number", "state", "params", "value", "steps", "duration_s", "dir", "run_id", "attempts",
    "reason", "failure",
]  # fmt: skip


def test_results_of_a_tracked_sweep(shop: Workshop) -> None:
    command = shop.explr(
        "train_model=trainings:epochs", "tuner=optuna", "tuner.study_name=s", "-m",
        "lr=interval(0,1)", "tuner.n_trials=3", "tuner.n_jobs=2", "seed=7",
        DRAIN,
    )  # fmt: skip
    done = shop.run(command)
    assert done.returncode == 0, done.stderr
    folder = shop.folder / "multirun" / "s"
    results = shop.results("multirun/s")
    assert [*results] == TOP
    assert (results["study"], results["direction"], results["n_trials"]) == ("s", "minimize", 3)
    assert shlex.split(results["command"])[0] == "explr"
    for number, trial in enumerate(results["trials"]):
        assert [*trial] == TRIAL
        assert (trial["number"], trial["state"]) == (number, "COMPLETE")
        assert (trial["steps"], trial["attempts"], trial["reason"]) == (6, 1, "")
        assert Path(trial["dir"]) == folder / str(number)
        assert trial["duration_s"] > 0
        assert trial["value"] == trial["params"]["lr"]
    best = results["best"]
    assert best == min(results["trials"], key=lambda trial: trial["value"])
    saved: Any = OmegaConf.load(folder / "optimization_results.yaml")
    assert OmegaConf.to_container(saved) == {
        "name": "optuna", "best_params": best["params"], "best_value": best["value"],
    }  # fmt: skip

    with sqlite3.connect(Path(shop.environment["EXPLR_HOME"], "mlflow.db")) as store:
        runs = store.execute("select run_uuid, name, status from runs").fetchall()
        (parent,) = store.execute(
            "select run_uuid from tags where key = 'explr.kind' and value = 'sweep'"
        ).fetchone()
        metrics = dict(
            store.execute("select key, value from latest_metrics where run_uuid = ?", (parent,))
        )
        tags = dict(store.execute("select key, value from tags where run_uuid = ?", (parent,)))
    store.close()
    assert {status for _, _, status in runs} == {"FINISHED"}
    assert {t["run_id"] for t in results["trials"]} == {run for run, _, _ in runs} - {parent}
    counts = {key: value for key, value in metrics.items() if key.startswith("trials/")}
    assert counts == {
        "trials/complete": 3, "trials/pruned": 0, "trials/fail": 0, "trials/running": 0,
    }  # fmt: skip
    assert metrics["best_value"] == best["value"]
    assert tags["explr.best_trial"] == str(best["number"])
    assert tags["best.lr"] == str(best["params"]["lr"])

    line = next(x for x in done.stdout.splitlines() if "to train it again: " in x)
    words = shlex.split(line.partition("to train it again: ")[2])
    assert words[0] == "explr"
    retrained = shop.run(shop.explr(*words[1:], "hydra.run.dir=again"))
    assert retrained.returncode == 0, retrained.stderr
    result = json.loads((shop.folder / "again" / "result.json").read_text())
    assert result["value"] == best["value"]


@pytest.mark.slow
def test_the_command_to_train_the_best_again_holds_lists_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def plain(ctx: TrainingContext) -> float:
        assert ctx.hyperparameters["layers"] in ([1, 2], [3])
        return 1.0

    swept = explr.tune(
        [
            "tracking=off", "tuner=optuna", BASIC, "+layers=[1,2],[3]",
            "tuner.study_name=s",
        ],
        plain,
        n_trials=2,
    )  # fmt: skip
    assert swept.best is not None
    layers = swept.best["params"]["layers"]
    assert layers in ([1, 2], [3])
    assert f"'+layers={layers}'".replace(" ", "") in capsys.readouterr().out
    with pytest.raises(explr.core.errors.UsageError, match=r"again with tuner\.study_name=s"):
        resume(tmp_path / "multirun" / "s")


@pytest.mark.slow
def test_the_caller_keeps_its_log_handlers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    before, level = [*root.handlers], root.level
    own = logging.FileHandler(tmp_path / "own.log", mode="w")
    root.addHandler(own)
    try:
        explr.tune(["tracking=off", BASIC, "lr=interval(0,1)"], lambda _: 1.0, n_trials=1)
        assert root.handlers == [*before, own]
        assert root.level == level
        logging.getLogger("mine").error("still here")
    finally:
        root.removeHandler(own)
        own.close()
    assert (tmp_path / "own.log").read_text() == "still here\n"


def test_a_sweep_in_a_database_of_its_own_is_resumed(shop: Workshop) -> None:
    command = shop.optuna("plain", "lr=interval(0,1)", "tuner.storage='sqlite:///study.db'")
    command = [argument for argument in command if "study_name" not in argument]
    command += ["tuner.n_trials=2", BASIC]
    assert shop.run(command).returncode == 0
    assert shop.run(shop.explr("resume", "--last")).returncode == 0
    with sqlite3.connect(shop.folder / "study.db") as store:
        names = store.execute("select study_name from studies").fetchall()
        (count,) = store.execute("select count(*) from trials").fetchone()
    store.close()
    assert len(names) == 1
    assert count == 2


@pytest.mark.slow
def test_the_tuner_as_an_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def plain(ctx: TrainingContext) -> float:
        return float(ctx.hyperparameters["lr"])

    from explr.tuning import OptunaTuner, SearchSpaceBuilder

    space = SearchSpaceBuilder().interval("lr", 1, 2).build()
    tuner = OptunaTuner(
        3, sampler="random", pruner="none", study_name="s",
        overrides=["tracking=off", BASIC],
    )  # fmt: skip
    swept = tuner.optimize(plain, {**space, "width": 64})
    assert len(swept.trials) == 3
    assert all(1 <= trial["value"] <= 2 for trial in swept.trials)
    assert len(tuner.optimize(plain, space).trials) == 3  # the total, not an addition
