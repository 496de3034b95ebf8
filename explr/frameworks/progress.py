"""What happens at the end of an epoch, the same for every framework."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from explr.core.errors import BY_TUNER, TrialPruned
from explr.core.folders import replace_file, replacing
from explr.core.numbers import readable
from explr.core.protocols import TrainingContext, TrainingResult
from explr.frameworks.objective import Objective

logger = logging.getLogger(__name__)


class Progress:
    """Follows the objective over the epochs of one training, and keeps the best model.

    A JSON file next to the model has its epoch and metrics. A training that resumes after an
    interruption reads there what it has to beat.

    Args:
        ctx: the training's context. Its objective is followed; `val_loss`, minimized, where it
            has no configuration.
        model_name: name of the best model's file in `ctx.output_dir`.
        epochs: number of epochs in all, for the log.
        start_epoch: first epoch of this attempt; with more than 0, the best epoch of the
            attempt before it still counts.
    """

    def __init__(
        self,
        ctx: TrainingContext,
        model_name: str,
        epochs: int | None = None,
        start_epoch: int = 0,
    ) -> None:
        self.epochs = epochs
        self._ctx = ctx
        self._objective = Objective(ctx.config)
        self._model = ctx.output_dir / model_name
        self._record = self._model.with_suffix(".json")
        self._completed = start_epoch
        if start_epoch > 0 and self._record.is_file() and self._model.is_file():
            self._objective.best = json.loads(self._record.read_text())["metrics"]

    def epoch_end(
        self, epoch: int, metrics: Mapping[str, Any], save_model: Callable[[Path], None]
    ) -> None:
        """Keep the model if it is the best, log and report the metrics, and prune.

        Args:
            epoch: counted from 0.
            metrics: values by name; an epoch without the objective's metric is only reported, and
                a value that cannot be read is left out with a warning.
            save_model: writes the model to the path that it is given.

        Raises:
            TrialPruned: the tuner prunes the trial.
        """
        values = readable(metrics)
        self._completed = epoch + 1
        if self._objective.is_best(values):
            if self._ctx.rank == 0:
                self._keep(epoch, values, save_model)
            self._objective.best = values
        logger.info("%s", self._line(epoch, values))
        self._ctx.report(epoch, **{**metrics, **values})
        if self._ctx.should_prune:
            raise TrialPruned(f"{BY_TUNER}, after epoch {epoch + 1}")

    def result(self) -> TrainingResult:
        """The best epoch as a result.

        Returns:
            Its value of the objective and all of its metrics; NaN where no epoch had a number.

        Raises:
            ResultError: no epoch had the metric of the objective.
        """
        return self._objective.result(self._completed, str(self._model))

    def _keep(
        self, epoch: int, values: dict[str, float], save_model: Callable[[Path], None]
    ) -> None:
        self._model.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self._model, self._model.suffix) as aside:
            save_model(aside)
        replace_file(self._record, {"epoch": epoch, "metrics": values}, private=False)

    def _line(self, epoch: int, values: Mapping[str, float]) -> str:
        of = "" if self.epochs is None else f"/{self.epochs}"
        numbers = (f"{name} {_readable(value)}" for name, value in values.items())
        return "  ".join([f"epoch {epoch + 1}{of}", *numbers])


def _readable(value: float) -> str:
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        return f"{value:.4f}"
    return f"{value:.3g}"
