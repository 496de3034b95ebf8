"""The objective over one training: which metrics were the best, and the result that they make."""

from __future__ import annotations

import math
from collections.abc import Mapping

from explr.core.config import ExplrConfig, ObjectiveConfig
from explr.core.errors import ResultError
from explr.core.protocols import TrainingResult


class Objective:
    """Follows the objective over the metrics of a training.

    The code that saves the best model sets `best` after saving it.

    Args:
        config: the training's configuration; `val_loss`, minimized, where it has none.
    """

    def __init__(self, config: ExplrConfig | None) -> None:
        objective = config.objective if config else ObjectiveConfig()
        self.metric, self.minimize = objective.primary, objective.minimize
        self.best: dict[str, float] | None = None
        self._seen: set[str] = set()

    def is_best(self, metrics: Mapping[str, float]) -> bool:
        """Whether the metrics of an epoch or a step are better than all before them."""
        self._seen.update(metrics)
        value = metrics.get(self.metric, math.nan)
        if math.isnan(value):
            return False
        best = None if self.best is None else self.best.get(self.metric)
        return best is None or (value < best if self.minimize else value > best)

    def result(self, epochs_completed: int, best_model_path: str | None) -> TrainingResult:
        """The best metrics as a result.

        Args:
            epochs_completed: number of epochs that were trained.
            best_model_path: where the best model was saved.

        Returns:
            The best value of the objective and the metrics of its epoch; NaN if none was a number.

        Raises:
            ResultError: the objective was not among the metrics.
        """
        if self.best is None and self.metric not in self._seen:
            there = f"they have {', '.join(sorted(self._seen))}" if self._seen else "there are none"
            raise ResultError(
                f"the objective {self.metric} is not among the epochs' metrics: {there}"
            )
        best = self.best or {self.metric: math.nan}
        return TrainingResult(
            primary_metric=best[self.metric],
            primary_metric_name=self.metric,
            minimize=self.minimize,
            metrics=dict(best),
            best_model_path=None if self.best is None else best_model_path,
            epochs_completed=epochs_completed,
        )
