"""A Keras callback; imports Keras when it is imported."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from explr.core.errors import TrialPruned
from explr.core.protocols import TrainingContext, TrainingResult
from explr.frameworks.keras_loading import loading_fault
from explr.frameworks.progress import Progress

logger = logging.getLogger(__name__)


class KerasReporter(keras.callbacks.Callback):  # type: ignore[misc]
    """Logs, reports and prunes at the end of each epoch, and keeps the best model.

    A pruned trial stops as with early stopping and raises at the end, after the callbacks before
    this one have finished.

    Keras's own names are translated: `loss` is reported as `train_loss`, `accuracy` as
    `train_accuracy`, and so on; `val_…` and `learning_rate` stay.

    Args:
        ctx: the training's context; the best model is saved as `best_model.keras` in its
            `output_dir`.
        start_epoch: what `fit` gets as `initial_epoch`; with more than 0, the best epoch of the
            attempt before it still counts.
    """

    def __init__(self, ctx: TrainingContext, start_epoch: int = 0) -> None:
        super().__init__()
        self._progress = Progress(ctx, "best_model.keras", start_epoch=start_epoch)
        self._pruned: TrialPruned | None = None
        self._warned = False

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Take in the metrics of an epoch; Keras calls it."""
        self._progress.epochs = self.params.get("epochs")
        metrics = {_reported_name(name): value for name, value in (logs or {}).items()}
        losses_first = dict(sorted(metrics.items(), key=lambda item: not item[0].endswith("loss")))
        try:
            self._progress.epoch_end(epoch, losses_first, self._save)
        except TrialPruned as pruned:
            self._pruned = pruned
            self.model.stop_training = True

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """End a trial that is pruned; Keras calls it.

        Raises:
            TrialPruned: the tuner prunes the trial.
        """
        if self._pruned is not None:
            raise self._pruned

    def result(self) -> TrainingResult:
        """The best epoch, as `train_model` returns it.

        Raises:
            ResultError: no epoch had the metric of the objective.
        """
        return self._progress.result()

    def _save(self, path: Path) -> None:
        self.model.save(path)
        if not self._warned and (fault := loading_fault(path)) is not None:
            self._warned = True
            logger.warning("best_model.keras needs custom_objects to be loaded: %s", fault)


def _reported_name(name: str) -> str:
    if name == "learning_rate" or name.startswith("val_"):
        return name
    return f"train_{name}"
