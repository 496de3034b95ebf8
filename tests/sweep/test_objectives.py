"""Several objectives in explr's own app: their values, their front, and what they exclude."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from sweeping import BASIC, DRAIN, Workshop

import explr
from explr import TrainingContext, TrainingResult
from explr.core.errors import ConfigError

BOTH = ["objective.metric=[val_loss,latency]", "objective.direction=[minimize,minimize]"]
SMALL = ["lr=interval(0,1)", "tuner.n_trials=4"]


def test_a_front_is_found_and_resumed(shop: Workshop) -> None:
    command = shop.optuna("two_objectives", *SMALL, *BOTH, "tuner/sampler=tpe", BASIC)
    done = shop.run(command)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("several objectives: no trial is pruned") == 1
    assert "on the front: trials 0, 1, 2, 3\n" in done.stdout
    results = shop.results("multirun/s")
    assert results["direction"] == ["minimize", "minimize"]
    assert results["best"] is None
    assert [trial["number"] for trial in results["front"]] == [0, 1, 2, 3]
    for trial in results["trials"]:
        assert trial["value"] == pytest.approx([trial["params"]["lr"], 1 - trial["params"]["lr"]])
    saved: Any = OmegaConf.load(shop.folder / "multirun" / "s" / "optimization_results.yaml")
    assert [each["params"]["lr"] for each in saved.solutions] == [
        trial["params"]["lr"] for trial in results["front"]
    ]
    assert [list(each["values"]) for each in saved.solutions] == [
        trial["value"] for trial in results["front"]
    ]
    again = shop.run([*command, "tuner.n_trials=5"])
    assert again.returncode == 0, again.stderr
    assert len(shop.results("multirun/s")["trials"]) == 5
    other = shop.run([*command, "objective.direction=[minimize,maximize]"])
    assert other.returncode == 2
    assert (
        "started with objective.direction=minimize,minimize, not minimize,maximize" in other.stderr
    )


def test_each_objective_of_each_replicate_is_recorded(shop: Workshop) -> None:
    done = shop.run(
        shop.explr(
            "train_model=trainings:two_objectives", "tuner=optuna", "-m", *BOTH,
            "lr=interval(0,1)", "tuner.n_trials=2", "tuner.replicates=2", "tuner.study_name=s",
            DRAIN,
        )
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = shop.results("multirun/s")
    for trial in results["trials"]:
        assert trial["value"] == pytest.approx([trial["params"]["lr"], 1 - trial["params"]["lr"]])
        assert Path(trial["dir"], "1", "seed-43").exists()
    rates = {trial["run_id"]: trial["params"]["lr"] for trial in results["trials"]}
    with sqlite3.connect(Path(shop.environment["EXPLR_HOME"], "mlflow.db")) as store:
        rows = store.execute("select run_uuid, key, value from latest_metrics").fetchall()
        (front,) = store.execute("select value from tags where key = 'explr.front'").fetchone()
    store.close()
    values = {(run, key): value for run, key, value in rows}
    assert front == ",".join(str(trial["number"]) for trial in results["front"])
    assert None not in rates
    for run, lr in rates.items():
        assert values[run, "objective/val_loss"] == values[run, "objective"] == lr
        assert values[run, "objective/latency"] == pytest.approx(1 - lr)
        assert values[run, "latency"] == 9.0  # as the training logged it


def test_a_pruner_that_somebody_chose_is_refused(shop: Workshop) -> None:
    line = shop.optuna("two_objectives", *SMALL, *BOTH, BASIC)
    for chosen in ("tuner/pruner=asha", "tuner/pruner=median", "tuner.pruner.min_resource=1"):
        done = shop.run([*line, chosen])
        assert done.returncode == 2
        (said,) = done.stderr.splitlines()
        assert said.startswith("pruning needs one objective: ")
    assert shop.run([*line, "tuner/pruner=none"]).returncode == 0


def test_an_objective_that_is_missing_fails_the_trial_in_a_sentence(shop: Workshop) -> None:
    one = ["lr=interval(0,1)", "tuner.n_trials=1", BASIC]
    assert shop.run(shop.optuna("plain", *one, *BOTH)).returncode == 1
    (trial,) = shop.results("multirun/s")["trials"]
    assert trial["reason"] == (
        "the objectives are val_loss, latency, but latency is missing: return a TrainingResult "
        "with it among its metrics (there are none)"
    )


@pytest.mark.slow
def test_the_tuner_as_an_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def train(ctx: TrainingContext) -> TrainingResult:
        lr = ctx.hyperparameters["lr"]
        return TrainingResult(lr, metrics={"accuracy": 0.5})

    from explr.tuning import OptunaTuner

    settings = {
        "objective.metric": ["val_loss", "accuracy"],
        "objective.direction": ["minimize", "maximize"],
    }
    for n_trials in (3, 4):  # begun, and resumed
        swept = OptunaTuner(
            n_trials, sampler="nsgaii", study_name="s", settings=settings,
            overrides=["tracking=off", BASIC],
        ).optimize(train, {"lr": "interval(0, 1)"})  # fmt: skip
        assert len(swept.trials) == n_trials
    assert swept.best is None
    (best,) = swept.front  # the accuracies are equal
    assert best["value"][0] == min(trial["value"][0] for trial in swept.trials)
    with pytest.raises(ConfigError, match="pruning needs one objective"):
        OptunaTuner(
            3, pruner="median", settings=settings,
            overrides=["tracking=off", BASIC],
        ).optimize(train, {"lr": "interval(0, 1)"})  # fmt: skip


def test_one_training_with_several_objectives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = explr.compose([*BOTH, "tracking=off"])

    def train(ctx: TrainingContext) -> TrainingResult:
        ctx.report(0, val_loss=0.5)
        return TrainingResult(0.5, metrics={"latency": 2.0})

    assert explr.run(config, train).metrics == {"latency": 2.0}
