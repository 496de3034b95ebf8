"""A callback for the Trainer of Hugging Face Transformers, which this imports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from explr.core.protocols import TrainingContext, TrainingResult
from explr.integrations.reports import Reports


class ExplrCallback(TrainerCallback):
    """Logs what the Trainer logs, reports the objective, and ends a trial that is pruned.

    The Trainer's names are translated, as far as they are not the objective's own: `eval_loss` is
    reported as `val_loss`, `loss` as `train_loss`. The step is the Trainer's global step. A trial
    that is pruned ends as the Trainer ends one early, and raises then.

    Args:
        ctx: the training's context; None in a Hydra application of your own.
        monitor: name of the objective where there is no context.

    Raises:
        UsageError: not one of both is given.
    """

    def __init__(self, ctx: TrainingContext | None = None, monitor: str | None = None) -> None:
        self._reports = Reports(ctx, monitor)
        self._state = TrainerState()
        self._training = False
        self._has_ranks = ctx is not None and ctx.world_size > 1  # each has a context of its own

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Begin to listen, and have what a checkpoint brought count; the Trainer calls it."""
        self._training = True
        for logs in state.log_history:
            self._reports.recall(self._metrics(logs))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Take in what is logged; the Trainer calls it, after an evaluation too."""
        if not (self._training and (state.is_world_process_zero or self._has_ranks)):
            return
        self._state = state
        self._reports.take(state.global_step, self._metrics(logs or {}))
        if self._reports.pruned:
            control.should_training_stop = True

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """End a pruned trial; the Trainer calls it when all that it keeps is written.

        Raises:
            TrialPruned: the tuner prunes the trial.
        """
        self._training = False
        self._reports.end_if_pruned(f"after step {state.global_step}")

    def result(self) -> TrainingResult:
        """The best evaluation, as `train_model` returns it.

        Its model is the Trainer's best checkpoint, where the arguments of the Trainer keep one.

        Raises:
            ResultError: the objective was never logged.
            UsageError: the callback was given no context.
        """
        return self._reports.result(int(self._state.epoch or 0), self._state.best_model_checkpoint)

    def _metrics(self, logs: Mapping[str, Any]) -> dict[str, Any]:
        values = dict(logs)
        if "train_runtime" in values:  # the summary at the end, whose loss is a mean over all steps
            values.pop("train_loss", None)
        return {self._name(name): value for name, value in values.items()}

    def _name(self, name: str) -> str:
        if name == self._reports.metric:
            return name
        if name == "loss":
            return "train_loss"
        return f"val_{name.removeprefix('eval_')}" if name.startswith("eval_") else name
