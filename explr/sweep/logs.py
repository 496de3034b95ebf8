"""One format for all lines of a sweep, the places where they are seen, and a file for the rest."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOGGER = "explr.sweep"

STARTS = "explr.sweep.starts"
"""Logger of the lines that say which trial starts."""

FORMAT = "[%(asctime)s][explr] %(message)s"
"""As `conf/config.yaml` has it for the command line."""

FILE_FORMAT = "[%(asctime)s][%(name)s][%(levelname)s] - %(message)s"
"""As Hydra has it for the log file of a job."""

LOG_FILE = "sweep.log"
"""File in a sweep's folder for all that its controller and its libraries log."""


@contextmanager
def steady_logging(folder: Path) -> Iterator[None]:
    """Keep the sweep's lines where they go now, also while a job in this process logs elsewhere.

    Args:
        folder: folder of the sweep, which gets a log file.
    """
    file = logging.FileHandler(folder / LOG_FILE, encoding="utf-8", delay=True)
    file.setFormatter(logging.Formatter(FILE_FORMAT))
    root, logger = logging.getLogger(), logging.getLogger(LOGGER)
    try:
        with _handled_by(root.handlers):
            for one in (root, logger):
                one.addHandler(file)
            try:
                yield
            finally:
                for one in (root, logger):
                    one.removeHandler(file)
    finally:
        file.close()


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
