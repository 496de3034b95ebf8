"""What a person sees of a sweep or a training while it goes on."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from explr.results.live_training import TrainingProgress
from explr.runner.reporting import reporting_to
from explr.runner.sweep_logging import LOGGER, STARTS
from explr.tuning.channel import VARIABLE
from explr.utils.console import Verbosity, in_notebook, is_terminal, verbosity

if TYPE_CHECKING:
    from explr.results.live import SweepProgress

log = logging.getLogger("explr.training")

EPOCH_LINES = "explr.frameworks.progress"
"""The logger that tells of each epoch with all of its metrics."""


def watching(progress: SweepProgress) -> AbstractContextManager[object]:
    """Show a sweep within the block, where there is somebody to see it."""
    if verbosity() is Verbosity.QUIET:
        return nullcontext()
    if in_notebook():
        from explr.results.notebook_screen import NotebookScreen

        return NotebookScreen(progress, (LOGGER,))
    return _drawn(progress, (LOGGER,), {STARTS})


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
    with _told(progress), _drawn(progress, (), {EPOCH_LINES, log.name}):
        yield


def _drawn(
    progress: SweepProgress | TrainingProgress, loggers: tuple[str, ...], hidden: set[str]
) -> AbstractContextManager[object]:
    """A live region in the terminal, if there is one that nobody draws on and that is wanted."""
    if verbosity() is Verbosity.QUIET or not is_terminal(sys.stdout):
        return nullcontext()
    from explr.results.screen import Screen, is_taken

    return nullcontext() if is_taken() else Screen(progress, loggers, hidden)


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
