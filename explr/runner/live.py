"""What a person sees of a single training while it runs."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from omegaconf import DictConfig, OmegaConf

from explr.results.live.region import drawn
from explr.results.live.training import TrainingProgress
from explr.runner.reporting import reporting_to
from explr.tuning.channel import VARIABLE

log = logging.getLogger("explr.training")

EPOCH_LINES = "explr.frameworks.progress"
"""The logger that tells of each epoch with all of its metrics."""


@contextmanager
def watching_training(cfg: DictConfig) -> Iterator[None]:
    """Show the objective of a single training within the block: a line that moves, or many.

    Args:
        cfg: the composed config.
    """
    metric = OmegaConf.select(cfg, "objective.metric")
    if not isinstance(metric, str) or VARIABLE in os.environ:  # several, or told elsewhere
        yield
        return
    direction = OmegaConf.select(cfg, "objective.direction")
    epochs = cfg.get("epochs")
    progress = TrainingProgress(
        metric,
        str(getattr(direction, "name", direction)) == "minimize",
        epochs if isinstance(epochs, int) and epochs > 0 else None,
    )
    with _told(progress), drawn(progress, (), {EPOCH_LINES, log.name}):
        yield


@contextmanager
def _told(progress: TrainingProgress) -> Iterator[None]:
    """Log what the training reports, a line each, unless a reporter has logged it already."""
    told = False

    def noted(record: logging.LogRecord) -> bool:
        nonlocal told
        told = True
        return True

    def reported(key: int, step: int, value: float) -> bool:
        nonlocal told
        if progress.reported(step, value) and not told:
            log.info("%s", progress.line())
        told = False
        return False

    lines = logging.getLogger(EPOCH_LINES)
    lines.addFilter(noted)
    try:
        with reporting_to(reported, 0):
            yield
    finally:
        lines.removeFilter(noted)
