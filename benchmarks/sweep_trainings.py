"""Training functions for the sweep benchmarks; they import no framework."""

from __future__ import annotations

import time

from explr import TrainingContext

POINTS = 10


def ten_points(ctx: TrainingContext) -> float:
    """Reports ten times."""
    value = (ctx.hyperparameters["lr"] - 0.03) ** 2
    for step in range(POINTS):
        ctx.report(step, val_loss=value + 1 / (step + 1))
    return float(value)


def tell_start(ctx: TrainingContext) -> float:
    """Print when the first line is reached."""
    moment = time.monotonic_ns()
    (ctx.output_dir / "reached").write_text(str(moment))
    return 0.0
