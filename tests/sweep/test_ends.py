"""How a sweep ends, and what it says of that."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
from sweeping import BASIC, Workshop

import explr
from explr import TrainingContext, TrialPruned
from explr.core.errors import SweepError


@pytest.fixture
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def statuses(shop: Workshop) -> dict[str, str]:
    """Status of each run in MLflow's store, by its name, that of a trial beneath its sweep's."""
    with sqlite3.connect(Path(shop.environment["EXPLR_HOME"], "mlflow.db")) as store:
        found = store.execute(
            "select coalesce(parents.name || '/', '') || runs.name, runs.status from runs "
            "left join tags on tags.run_uuid = runs.run_uuid and tags.key = 'mlflow.parentRunId' "
            "left join runs parents on parents.run_uuid = tags.value"
        ).fetchall()
    store.close()
    return dict(found)


@pytest.mark.slow
@pytest.mark.usefixtures("_elsewhere")
def test_too_many_failures_are_told_with_the_first_of_them() -> None:
    def boom(ctx: TrainingContext) -> float:
        if ctx.trial_number < 2:
            return 1.0
        raise ValueError(f"no luck in {ctx.trial_number}")

    with pytest.raises(SweepError) as caught:
        explr.tune(
            [
                "tracking=off", "tuner=optuna", BASIC, "lr=interval(0,1)",
                "tuner.max_failure_rate=0.5",
            ],
            boom,
            n_trials=50,
        )  # fmt: skip
    lines = str(caught.value).splitlines()
    assert 'raise ValueError(f"no luck in {ctx.trial_number}")' in str(caught.value)
    assert lines[-2] == "ValueError: no luck in 2"
    assert lines[-1] == (
        "3 of 5 trials failed, more than tuner.max_failure_rate=0.5 allows, the first with this"
    )


@pytest.mark.slow
@pytest.mark.usefixtures("_elsewhere")
def test_it_is_told_who_ended_a_trial() -> None:
    def prunes(ctx: TrainingContext) -> float:
        raise TrialPruned("hopeless")

    def epochs(ctx: TrainingContext) -> float:
        for epoch in range(6):
            ctx.tracker.log_metric("val_loss", ctx.hyperparameters["lr"], step=epoch)
        return float(ctx.hyperparameters["lr"])

    for training, reason in (
        (prunes, "by the training itself: hopeless"),
        (epochs, "by the tuner"),  # by what it logs
    ):
        swept = explr.tune(
            [
                "tracking=off", "tuner=optuna", BASIC, "lr=interval(1,3)",
                "tuner.enqueue=[{lr: 1}, {lr: 2}]", "tuner.pruner.min_resource=1",
                f"hydra.sweep.dir={training.__name__}",
            ],
            training,
            n_trials=2,
        )  # fmt: skip
        assert swept.trials[1]["reason"] == reason


def test_all_lines_of_a_sweep_look_alike_and_a_limit_that_cannot_be_kept_is_named_once(
    shop: Workshop,
) -> None:
    for launcher, times in (("basic", 1), ("explr_local", 0)):
        done = shop.run(
            shop.optuna(
                "plain", "lr=interval(0,1)", "tuner.n_trials=2", f"hydra/launcher={launcher}",
                f"hydra.sweep.dir={launcher}", "tuner.trial_timeout_s=60",
            )
        )  # fmt: skip
        words = "tuner.trial_timeout_s has no effect with hydra/launcher=basic"
        assert done.stdout.count(words) == done.stdout.count("tuner.trial_timeout_s") == times
        lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
        assert len(lines) == 4 + times, done.stdout
        assert {line.partition("][")[2].partition("]")[0] for line in lines} == {"explr"}
        log = shop.folder / launcher / "0" / "explr.log"
        assert "trial 0" not in log.read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("_elsewhere")
def test_a_sweep_from_python_shows_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    def plain(ctx: TrainingContext) -> float:
        return 1.0

    explr.tune(["tracking=off", "tuner=optuna", "lr=interval(0,1)"], plain, n_trials=1)
    out = capsys.readouterr().out
    assert "[explr] trial 0 COMPLETE: 1" in out
    assert out.count("trial 0 COMPLETE") == 1


def test_a_training_that_is_not_there_leaves_nothing(shop: Workshop) -> None:
    shutil.rmtree(shop.environment["EXPLR_HOME"])
    for target in ("trainings:missing", "nowhere:f", "nowhere.py:f"):
        done = shop.run(
            shop.explr(f"train_model={target}", "tuner=optuna", "-m", "lr=interval(0,1)")
        )
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"train_model={target}: ")
    assert not (shop.folder / "multirun").exists()
    assert not Path(shop.environment["EXPLR_HOME"]).exists()


def test_mlflow_says_how_a_sweep_without_a_result_ended_and_why(shop: Workshop) -> None:
    (shop.folder / "broken.py").write_text("import nowhere\n\n\ndef f(ctx):\n    return 1.0\n")
    done = shop.run(
        shop.explr("train_model=broken:f", "tuner=optuna", "-m", "lr=interval(0,1)",
                   "tuner.study_name=s", "tracking.drain_timeout_s=0")
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("train_model=broken:f cannot be imported: No module named 'nowhere'")
    for training in ("boom", "prunes"):
        shop.run(
            shop.explr(f"train_model=trainings:{training}", "-m", "lr=1,2",
                       f"hydra.sweep.dir={training}", "tracking.drain_timeout_s=0")
        )  # fmt: skip
    shop.sync()
    assert statuses(shop) == {
        "s": "FAILED",
        "boom": "FAILED", "boom/0 lr=1": "FAILED", "boom/1 lr=2": "FAILED",
        "prunes": "FINISHED", "prunes/0 lr=1": "FINISHED", "prunes/1 lr=2": "FINISHED",
    }  # fmt: skip
    with sqlite3.connect(Path(shop.environment["EXPLR_HOME"], "mlflow.db")) as store:
        reasons = store.execute("select value from tags where key = 'explr.reason'").fetchall()
    store.close()
    assert (line,) in reasons
