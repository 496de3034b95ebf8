"""One format for all lines of a sweep, and a place where they are seen."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

LOGGER = "explr.sweep"

FORMAT = "[%(asctime)s][explr] %(message)s"
"""As `conf/config.yaml` has it for the command line."""


@contextmanager
def steady_logging() -> Iterator[None]:
    """Keep the sweep's lines where they go now, also while a job in this process logs elsewhere."""
    with _handled_by(logging.getLogger().handlers):
        yield


@contextmanager
def shown_logging() -> Iterator[None]:
    """Show the sweep's lines where nobody has set up any logging: in a notebook, for one."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter(FORMAT))
    logger = logging.getLogger(LOGGER)
    before = logger.level
    logger.setLevel(logging.INFO)
    try:
        with _handled_by([handler]):
            yield
    finally:
        logger.setLevel(before)


@contextmanager
def _handled_by(handlers: list[logging.Handler]) -> Iterator[None]:
    logger = logging.getLogger(LOGGER)
    if logger.handlers:  # somebody has seen to it
        yield
        return
    logger.handlers, logger.propagate = list(handlers), False
    try:
        yield
    finally:
        logger.handlers, logger.propagate = [], True
