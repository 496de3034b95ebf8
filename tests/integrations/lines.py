"""A line that Lightning fits, for the process of the tests and for those of a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

import explr
from explr.integrations.lightning import ExplrCallback


class Line(LightningModule):
    """Learns y = 2x; its losses lie above 100 where `quality` is 0."""

    def __init__(self, quality: int = 1) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.offset = 0.0 if quality else 1000.0

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        x, y = batch
        loss = torch.nn.functional.mse_loss(self.layer(x), y)
        self.log("train_loss", loss, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, index: int) -> None:
        x, y = batch
        loss = torch.nn.functional.mse_loss(self.layer(x), y)
        self.log("val_loss", loss + self.offset)

    def on_train_epoch_end(self) -> None:
        self.log("late", float(self.current_epoch))
        self.log("step", 10.0 * self.current_epoch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


class Witness(Callback):
    """Sees which of Lightning's hooks for an end are called."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self.seen.append(type(exception).__name__)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self.seen.append("teardown")


def data(rows: int = 8) -> DataLoader[Any]:
    x = torch.linspace(0, 1, rows)[:, None]
    return DataLoader(TensorDataset(x, 2 * x), batch_size=2)


def fit(folder: Path, callbacks: list[Any], quality: int = 1, **settings: Any) -> Trainer:
    trainer = Trainer(
        **{
            "max_epochs": 3,
            "accelerator": "cpu",
            "default_root_dir": folder,
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": any(isinstance(one, ModelCheckpoint) for one in callbacks),
            "callbacks": callbacks,
            **settings,
        }
    )
    trainer.fit(Line(quality), data(), data(4))
    return trainer


def in_two_processes(ctx: explr.TrainingContext) -> explr.TrainingResult:
    """Fits a line as two processes that are forked from the trial's."""
    callback = ExplrCallback(ctx)
    several = {"devices": 2, "strategy": "ddp_fork"}
    fit(ctx.output_dir, [callback], ctx.hyperparameters["quality"], **several)
    return callback.result()
