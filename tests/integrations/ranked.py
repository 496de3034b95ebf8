"""Trainings of libraries as ranks of explr's, for the processes of a sweep."""

from __future__ import annotations

from typing import Any

import explr


def lightning(ctx: explr.TrainingContext) -> explr.TrainingResult:
    """Fits a line with Lightning's `ddp`, in the processes that are there."""
    from lines import ExplrCallback, fit

    assert ctx.world_size == 2
    callback = ExplrCallback(ctx)
    several = {"devices": ctx.world_size, "strategy": "ddp"}
    trainer = fit(ctx.output_dir, [callback], ctx.hyperparameters["quality"], **several)
    assert (trainer.world_size, trainer.global_rank) == (2, ctx.rank)
    (ctx.output_dir / f"epochs-{ctx.rank}-{trainer.current_epoch}").touch()
    return callback.result()


def transformers(ctx: explr.TrainingContext) -> explr.TrainingResult:
    """Fits a classifier with the Trainer of Transformers, which uses Accelerate."""
    from test_transformers import ExplrCallback, fit

    assert ctx.world_size == 2
    callback = ExplrCallback(ctx)
    trainer: Any = None
    quality = ctx.hyperparameters["quality"]
    try:
        trainer = fit(ctx.output_dir, [callback], quality, num_train_epochs=3)
    finally:
        (ctx.output_dir / f"left-{ctx.rank}").touch()
    assert (trainer.args.world_size, trainer.args.process_index) == (2, ctx.rank)
    return callback.result()
