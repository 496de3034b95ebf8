"""The live view of a single training."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from omegaconf import DictConfig, OmegaConf

from explr.core.validation import known_direction
from explr.results.live.region import drawn
from explr.results.live.training import TrainingProgress
from explr.runner.reporting import listening
from explr.tuning.channel import CHANNEL_VARIABLE
from explr.utils.console import Verbosity, in_notebook, verbosity

log = logging.getLogger("explr.training")

EPOCH_LINES = "explr.frameworks.progress"
"""Name of the logger that writes a line with all metrics for each epoch."""


@contextmanager
def watching_training(cfg: DictConfig) -> Iterator[None]:
    """Show the objective of a single training within the block, as a live line or as log lines.

    Args:
        cfg: the composed config.
    """
    metric = OmegaConf.select(cfg, "objective.metric")
    if (
        not isinstance(metric, str) or CHANNEL_VARIABLE in os.environ
    ):  # several objectives, or a sweep shows it
        yield
        return
    direction = OmegaConf.select(cfg, "objective.direction") or known_direction(metric)
    epochs = cfg.get("epochs")
    progress = TrainingProgress(
        metric,
        str(getattr(direction, "name", direction)) == "minimize",
        epochs if isinstance(epochs, int) and epochs > 0 else None,
    )
    in_cell = in_notebook() and verbosity() is not Verbosity.QUIET
    with _followed(progress, lines=not in_cell), _shown(progress, in_cell):
        yield


@contextmanager
def _shown(progress: TrainingProgress, in_cell: bool) -> Iterator[None]:
    """Draw a training within the block: in a notebook with its curve, else in the terminal."""
    if not in_cell:
        with drawn(progress, (), {EPOCH_LINES, log.name}):
            yield
        return
    from explr.results.live.curves import Curves
    from explr.results.live.notebook import NotebookScreen

    curves = Curves(progress.metric, progress.minimize)
    with listening(partial(curves.reported, 0)), NotebookScreen(progress, (), curves):
        yield


@contextmanager
def _followed(progress: TrainingProgress, lines: bool) -> Iterator[None]:
    """Note each report, and log a line for it unless the training logs its epochs itself."""
    logged = False

    def noted(record: logging.LogRecord) -> bool:
        nonlocal logged
        logged = True
        return True

    def reported(step: int, value: float) -> None:
        nonlocal logged
        if progress.reported(step, value) and lines and not logged:
            log.info("%s", progress.line())
        logged = False

    epochs = logging.getLogger(EPOCH_LINES)
    epochs.addFilter(noted)
    try:
        with listening(reported):
            yield
    finally:
        epochs.removeFilter(noted)
