"""A callback for Lightning, under either of its names; this imports it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from explr.core.errors import UsageError
from explr.core.protocols import TrainingContext, TrainingResult
from explr.integrations.reports import Reports

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer
else:
    try:
        from lightning.pytorch import Callback
    except ModuleNotFoundError:
        from pytorch_lightning import Callback


class ExplrCallback(Callback):
    """Logs what a module logs, reports the objective, and ends a trial that is pruned.

    The metrics of an epoch are reported with the epoch as their step; with several validations in
    an epoch they are reported after each, and the step is Lightning's global step.

    Where one process trains, a pruned trial ends at once, and Lightning cleans up as after any
    exception. Where several do (`framework.processes`, or `strategy="ddp_fork"`), all of them stop,
    and `result` says so.

    Args:
        ctx: the training's context; None in a Hydra application of your own.
        monitor: name of the objective, as the module logs it, where there is no context.

    Raises:
        UsageError: not one of both is given.
    """

    def __init__(self, ctx: TrainingContext | None = None, monitor: str | None = None) -> None:
        self._reports = Reports(ctx, monitor)
        self._record = ctx.output_dir / "lightning.json" if ctx is not None else None
        self._has_ranks = ctx is not None and ctx.world_size > 1  # each has a context of its own
        self._before: dict[str, Any] = {}
        self._step = 0
        self._epochs = 0
        self._best_model: str | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begin; Lightning calls it.

        Raises:
            UsageError: several processes train, and there is no context.
        """
        if trainer.world_size > 1 and self._record is None:
            raise UsageError("where several processes train, ExplrCallback takes the context")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember which metrics are older than the validation; Lightning calls it."""
        self._before = dict(trainer.callback_metrics)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take in the metrics of a validation; Lightning calls it.

        Raises:
            TrialPruned: the tuner prunes the trial.
        """
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._step = _step(trainer)
            self._take(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the epoch, whose metrics the module may still log; Lightning calls it."""
        self._step = _step(trainer)
        self._epochs = trainer.current_epoch + 1

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take in the metrics of the epoch before; Lightning calls it.

        Raises:
            TrialPruned: the tuner prunes the trial.
        """
        if self._epochs:
            self._take(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take in the metrics of the last epoch; Lightning calls it.

        Raises:
            TrialPruned: the tuner prunes the trial.
        """
        self._best_model = getattr(trainer.checkpoint_callback, "best_model_path", None) or None
        self._take(trainer)
        if trainer.world_size > 1 and trainer.is_global_zero and self._record is not None:
            state = {
                **self._reports.state(),
                "epochs": self._epochs,
                "best_model": self._best_model,
            }
            self._record.write_text(json.dumps(state))

    def state_dict(self) -> dict[str, Any]:
        """What goes into Lightning's checkpoints."""
        return self._reports.state()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best value of an earlier attempt; Lightning calls it on resume."""
        self._reports.recall(state_dict["best"])

    def result(self) -> TrainingResult:
        """The best validation, as `train_model` returns it.

        Its model is the best one of Lightning's `ModelCheckpoint`, if the trainer has one.

        Raises:
            ResultError: the objective was never logged.
            TrialPruned: several processes trained, and the tuner prunes the trial.
            UsageError: the callback was given no context.
        """
        if not self._epochs and self._record is not None and self._record.is_file():
            state = json.loads(self._record.read_text())  # of the process that trained
            self._reports.restore(state)
            self._epochs, self._best_model = state["epochs"], state["best_model"]
        self._reports.end_if_pruned(f"after epoch {self._epochs}")
        return self._reports.result(self._epochs, self._best_model)

    def _take(self, trainer: Trainer) -> None:
        now = dict(trainer.callback_metrics)
        # Lightning keeps old values among the new ones, and makes a new tensor for each new value.
        new = {name: value for name, value in now.items() if self._before.get(name) is not value}
        self._before = now
        if trainer.is_global_zero or self._has_ranks:
            self._reports.take(self._step, new)
        if trainer.world_size == 1:
            self._reports.end_if_pruned(f"after epoch {trainer.current_epoch + 1}")
        elif trainer.strategy.broadcast(self._reports.pruned):
            trainer.should_stop = True


def _step(trainer: Trainer) -> int:
    """The epoch, or the global step where an epoch has several validations."""
    every = trainer.val_check_batch
    once = every is not None and every >= trainer.num_training_batches
    return trainer.current_epoch if once else trainer.global_step
