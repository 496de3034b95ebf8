"""What the callbacks do with metrics, the same for every library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import explr
from explr.core.errors import BY_TUNER, TrialPruned, UsageError
from explr.core.numbers import readable
from explr.core.protocols import TrainingContext, TrainingResult
from explr.frameworks.objective import Objective


class Reports:
    """Logs the metrics of a training, reports its objective, and stops it if pruned.

    Args:
        ctx: the training's context; None in a Hydra application of the user's own, where nothing
            is logged.
        monitor: name of the objective where there is no context to tell it.

    Raises:
        UsageError: not one of both is given.
    """

    def __init__(self, ctx: TrainingContext | None, monitor: str | None) -> None:
        if (ctx is None) is (monitor is None):
            raise UsageError(
                "ExplrCallback takes the training's context, ExplrCallback(ctx), or in a Hydra "
                "application of your own the name of the objective, ExplrCallback(monitor=...)"
            )
        self.pruned = False
        self._ctx = ctx
        self._objective = Objective(ctx.config if ctx is not None else None)
        self.metric = monitor or self._objective.metric

    def take(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Log metrics, and report the objective if it is among them.

        Once the tuner has answered that the trial is to end, nothing is reported any more.

        Args:
            step: epoch or step that they belong to.
            metrics: values by name, numbers of any type.
        """
        if self.pruned or not metrics:
            return
        self.recall(metrics)
        if self._ctx is not None:
            self._ctx.report(step, **metrics)
            self.pruned = self._ctx.should_prune
        elif self.metric in metrics:
            try:
                explr.report(step, **{self.metric: metrics[self.metric]})
            except TrialPruned:
                self.pruned = True

    def recall(self, metrics: Mapping[str, Any] | None) -> None:
        """Have metrics of an earlier attempt at this training count for the result."""
        numbers = readable(metrics or {})
        if numbers and self._objective.is_best(numbers):
            self._objective.best = numbers

    def end_if_pruned(self, when: str) -> None:
        """Stop the trial if the tuner prunes it.

        Args:
            when: how the message says at which moment, as `after epoch 3`.

        Raises:
            TrialPruned: it has.
        """
        if self.pruned:
            raise TrialPruned(f"{BY_TUNER}, {when}")

    def state(self) -> dict[str, Any]:
        """What another process needs to tell the result, as JSON holds it."""
        return {"pruned": self.pruned, "best": self._objective.best}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned in another process."""
        self.pruned, self._objective.best = state["pruned"], state["best"]

    def result(self, epochs_completed: int, best_model_path: str | None) -> TrainingResult:
        """The best metrics as a result.

        Raises:
            ResultError: the objective was not among the metrics.
            UsageError: there is no context, so the direction of the objective is unknown.
        """
        if self._ctx is None:
            raise UsageError("result() takes a callback that was given the context of a training")
        return self._objective.result(epochs_completed, best_model_path)
