from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import explr
from explr.core.errors import UsageError

pytestmark = [
    pytest.mark.slow,
    # Lightning's own: advice on loaders and on loggers, and what it calls of PyTorch
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
]


@pytest.fixture(scope="module")
def lines() -> Any:
    """The module of that name, imported by the one process of the tests that needs Lightning."""
    return import_module("lines")


def test_what_the_module_logs_is_reported_by_epoch(
    run_once: Callable[..., Any], lines: Any
) -> None:
    def train(ctx: explr.TrainingContext) -> explr.TrainingResult:
        callback = lines.ExplrCallback(ctx)
        keep = lines.ModelCheckpoint(ctx.output_dir / "models", monitor="val_loss")
        lines.fit(ctx.output_dir, [callback, keep])
        return callback.result()

    result, rows = run_once(train)
    losses = rows.of("val_loss")
    assert sorted(losses) == [0, 1, 2]
    assert sorted(rows.of("train_loss_epoch")) == [0, 1, 2]
    assert rows.of("late") == {0: 0.0, 1: 1.0, 2: 2.0}
    assert rows.of("step") == {0: 0.0, 1: 10.0, 2: 20.0}  # a metric that is called like the step
    assert result.primary_metric == min(losses.values())
    assert result.epochs_completed == 3
    assert result.best_model_path is not None
    assert lines.torch.load(result.best_model_path, weights_only=True)["state_dict"]


def test_an_epoch_without_a_validation_reports_none(
    run_once: Callable[..., Any], lines: Any
) -> None:
    def seldom(ctx: explr.TrainingContext) -> explr.TrainingResult:
        callback = lines.ExplrCallback(ctx)
        lines.fit(ctx.output_dir, [callback], check_val_every_n_epoch=2, max_epochs=4)
        return callback.result()

    _, rows = run_once(seldom)
    assert sorted(rows.of("val_loss")) == [1, 3]
    assert sorted(rows.of("late")) == [0, 1, 2, 3]


def test_several_validations_in_an_epoch_are_reported_by_global_step(
    run_once: Callable[..., Any], lines: Any
) -> None:
    def often(ctx: explr.TrainingContext) -> explr.TrainingResult:
        callback = lines.ExplrCallback(ctx)
        lines.fit(ctx.output_dir, [callback], val_check_interval=2, max_epochs=2)
        return callback.result()

    _, rows = run_once(often)
    assert sorted(rows.of("val_loss")) == [2, 4, 6, 8]


def test_the_best_before_an_interruption_counts(run_once: Callable[..., Any], lines: Any) -> None:
    def train(ctx: explr.TrainingContext) -> explr.TrainingResult:
        keep = lines.ModelCheckpoint(ctx.output_dir, save_last=True)
        lines.fit(ctx.output_dir, [lines.ExplrCallback(ctx), keep], max_epochs=1)
        callback = lines.ExplrCallback(ctx)
        trainer = lines.Trainer(
            max_epochs=2,
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_checkpointing=False,
            callbacks=[callback],
        )
        worse = lines.Line(quality=0)
        trainer.fit(
            worse, lines.data(), lines.data(4), ckpt_path=keep.last_model_path, weights_only=True
        )
        return callback.result()

    result, rows = run_once(train)
    losses = rows.of("val_loss")
    assert losses[1] > 100 > losses[0]
    assert (result.primary_metric, result.epochs_completed) == (losses[0], 2)


def test_a_pruned_trial_ends_and_lightning_cleans_up(sweep: Callable[..., Any], lines: Any) -> None:
    witness = lines.Witness()

    def train(ctx: explr.TrainingContext) -> explr.TrainingResult:
        callback = lines.ExplrCallback(ctx)
        lines.fit(ctx.output_dir, [callback, witness], ctx.hyperparameters["quality"])
        return callback.result()

    good, bad = sweep(train)
    assert (good["state"], good["steps"]) == ("COMPLETE", 3)
    assert (bad["state"], bad["steps"]) == ("PRUNED", 1)
    ends = {good["number"]: "teardown", bad["number"]: "TrialPruned"}
    assert witness.seen == [ends[number] for number in sorted(ends)]


def test_several_processes_stop_together(
    explr: Callable[..., Any], tmp_path: Path, lines: Any
) -> None:
    sweep = explr(
        *("tuner=optuna", "-m", "+quality=choice(0,1)", "tuner.n_trials=2"),
        *("tuner/sampler=grid", "tuner/pruner=threshold", "tuner.pruner.upper=100"),
        *("train_model=lines:in_two_processes", "tracking=off", "gpu=cpu", "hydra.sweep.dir=sweep"),
        PYTHONPATH=str(Path(lines.__file__).parent),
        timeout_s=240,
    )
    assert sweep.returncode == 0, sweep.stderr
    trials = json.loads((tmp_path / "sweep" / "results.json").read_text())["trials"]
    bad, good = sorted(trials, key=lambda trial: trial["params"]["quality"])
    assert (good["state"], good["steps"]) == ("COMPLETE", 3)
    assert (bad["state"], bad["steps"]) == ("PRUNED", 1)


def test_in_an_application_of_ones_own_the_objective_is_named(tmp_path: Path, lines: Any) -> None:
    trainer = lines.fit(tmp_path, [lines.ExplrCallback(monitor="val_loss")], max_epochs=1)
    assert float(trainer.callback_metrics["val_loss"]) > 0


@pytest.mark.parametrize("given", [{}, {"ctx": object(), "monitor": "val_loss"}])
def test_the_objective_is_known_from_one_place(given: dict[str, Any], lines: Any) -> None:
    with pytest.raises(UsageError, match="takes the training's context"):
        lines.ExplrCallback(**given)


def test_the_installed_lightning_is_the_one_that_is_served(lines: Any) -> None:
    assert issubclass(lines.ExplrCallback, lines.Callback)


def test_ddp_uses_the_processes_that_explr_has_started(
    explr: Callable[..., Any], tmp_path: Path
) -> None:
    sweep = explr(
        *("tuner=optuna", "-m", "+quality=choice(0,1)", "tuner.n_trials=2"),
        *("tuner/sampler=grid", "tuner/pruner=threshold", "tuner.pruner.upper=100"),
        *("train_model=ranked:lightning", "framework=pytorch", "framework.processes=2"),
        *("tracking=off", "gpu=cpu", "hydra.sweep.dir=sweep"),
        PYTHONPATH=str(Path(__file__).parent),
        timeout_s=240,
    )
    assert sweep.returncode == 0, sweep.stderr
    trials = json.loads((tmp_path / "sweep" / "results.json").read_text())["trials"]
    bad, good = sorted(trials, key=lambda trial: trial["params"]["quality"])
    assert (good["state"], good["steps"], good["attempts"]) == ("COMPLETE", 3, 1)
    assert (bad["state"], bad["steps"], bad["attempts"]) == ("PRUNED", 1, 1)
    for trial, epochs in ((good, 3), (bad, 1)):
        seen = {path.name for path in Path(trial["dir"]).glob("epochs-*")}
        assert seen == {f"epochs-0-{epochs}", f"epochs-1-{epochs}"}
    assert [path.name for path in tmp_path.iterdir()] == ["sweep"]  # no command was run once more


def test_a_command_that_a_training_of_it_has_started_again_ends(explr: Callable[..., Any]) -> None:
    launched = {"LOCAL_RANK": "1", "NODE_RANK": "0", "EXPLR_TRAINING": "{}"}
    done = explr("gpu=cpu", "tracking=off", **launched)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("this command was started once more by its own training")
    assert "framework.processes=2" in line
