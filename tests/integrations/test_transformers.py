from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

import explr
from explr.integrations.transformers import ExplrCallback

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


class Data(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Random tokens; the first one is the class."""

    def __init__(self, rows: int) -> None:
        self.tokens = torch.randint(0, 2, (rows, 4), generator=torch.Generator().manual_seed(1))

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.tokens[index], "labels": self.tokens[index, 0]}


class Witness(TrainerCallback):
    """Sees whether the Trainer comes to its end."""

    def __init__(self) -> None:
        self.ends = 0

    def on_train_end(self, *_: Any, **__: Any) -> None:
        self.ends += 1


def fit(
    folder: Path, callbacks: list[Any], quality: int = 1, resumes: bool = False, **settings: Any
) -> Trainer:
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=4,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=8,
        )
    )
    arguments: dict[str, Any] = {
        "num_train_epochs": 3,
        "per_device_train_batch_size": 4,
        "eval_strategy": "epoch",
        "logging_steps": 2,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        **settings,
    }
    trainer = Trainer(
        model,
        TrainingArguments(str(folder), **arguments),
        train_dataset=Data(8),
        eval_dataset=Data(4),
        callbacks=callbacks,
        compute_metrics=lambda _: {
            "score": 0.5 if quality else 1000.0,
            "of_class": [0.25, 0.75],
        },
    )
    trainer.train(resume_from_checkpoint=resumes or None)
    return trainer


def test_what_the_trainer_logs_is_reported_by_step(run_once: Callable[..., Any]) -> None:
    def train(ctx: explr.TrainingContext) -> explr.TrainingResult:
        callback = ExplrCallback(ctx)
        trainer = fit(
            ctx.output_dir,
            [callback],
            save_strategy="epoch",
            load_best_model_at_end=True,
        )
        trainer.evaluate()  # after the training: belongs to no step of it
        return callback.result()

    result, rows = run_once(train)
    losses = rows.of("val_loss")
    assert sorted(losses) == [2, 4, 6]
    assert sorted(rows.of("train_loss")) == [2, 4, 6]
    assert sorted(rows.of("learning_rate")) == [2, 4, 6]
    assert rows.of("val_of_class/1") == dict.fromkeys((2, 4, 6), 0.75)
    assert not {name for _, row in rows.rows for name in row if name.startswith("eval_")}
    assert result.primary_metric == min(losses.values())
    assert result.epochs_completed == 3
    assert (Path(result.best_model_path) / "model.safetensors").is_file()


def test_the_best_before_an_interruption_counts(run_once: Callable[..., Any]) -> None:
    def train(ctx: explr.TrainingContext) -> explr.TrainingResult:
        saved = {"save_strategy": "epoch"}
        fit(ctx.output_dir, [ExplrCallback(ctx)], num_train_epochs=1, **saved)
        callback = ExplrCallback(ctx)
        fit(ctx.output_dir, [callback], quality=0, resumes=True, num_train_epochs=2, **saved)
        return callback.result()

    result, rows = run_once(train, "objective.metric=val_score", "objective.direction=minimize")
    assert rows.of("val_score") == {2: 0.5, 4: 1000.0}
    assert (result.primary_metric, result.epochs_completed) == (0.5, 2)


def test_a_pruned_trial_ends_as_the_trainer_ends_one(sweep: Callable[..., Any]) -> None:
    witness = Witness()

    def train(ctx: explr.TrainingContext) -> explr.TrainingResult:
        callback = ExplrCallback(ctx)
        fit(ctx.output_dir, [witness, callback], ctx.hyperparameters["quality"])
        return callback.result()

    # The objective may have the Trainer's own name too.
    good, bad = sweep(train, "objective.metric=eval_score", "objective.direction=minimize")
    assert (good["state"], good["steps"]) == ("COMPLETE", 3)
    assert (bad["state"], bad["steps"]) == ("PRUNED", 1)
    assert witness.ends == 2


def test_in_an_application_of_ones_own_the_objective_is_named(tmp_path: Path) -> None:
    trainer = fit(tmp_path, [ExplrCallback(monitor="eval_loss")], num_train_epochs=1)
    assert trainer.state.global_step == 2


def test_the_trainer_uses_the_processes_that_explr_has_started(
    explr: Callable[..., Any], tmp_path: Path
) -> None:
    done = explr(
        *("tuner=optuna", "-m", "+quality=choice(0,1)", "tuner.n_trials=2"),
        *("tuner/sampler=grid", "tuner/pruner=threshold", "tuner.pruner.upper=100"),
        *("train_model=ranked:transformers", "framework=pytorch", "framework.processes=2"),
        *("objective.metric=val_score", "objective.direction=minimize"),
        *("tracking=off", "gpu=cpu", "hydra.sweep.dir=sweep"),
        PYTHONPATH=str(Path(__file__).parent),
        timeout_s=240,
    )
    assert done.returncode == 0, done.stderr
    trials = json.loads((tmp_path / "sweep" / "results.json").read_text())["trials"]
    bad, good = sorted(trials, key=lambda trial: trial["params"]["quality"])
    assert (good["state"], good["steps"], good["attempts"]) == ("COMPLETE", 3, 1)
    assert (bad["state"], bad["steps"], bad["attempts"]) == ("PRUNED", 1, 1)
    assert {path.name for path in Path(bad["dir"]).glob("left-*")} == {"left-0", "left-1"}
