"""The log of a sweep: one format, the terminal or notebook, and a file."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from explr.utils.console import escape_unprintable

LOGGER = "explr.sweep"

STARTS = "explr.sweep.starts"
"""Logger of the lines about the start of trials."""

FORMAT = "[%(asctime)s][explr] %(message)s"
"""The same as in `conf/explr/output.yaml`."""

FILE_FORMAT = "[%(asctime)s][%(name)s][%(levelname)s] - %(message)s"
"""The same as in the log file of a Hydra job."""

LOG_FILE = "sweep.log"
"""File in a sweep's folder with everything that its controller and libraries log."""


@contextmanager
def steady_logging(folder: Path) -> Iterator[None]:
    """Keep the handlers of the sweep's log, also while a job in this process configures logging.

    Args:
        folder: folder of the sweep, where the log file is written.
    """
    file = logging.FileHandler(folder / LOG_FILE, encoding="utf-8", delay=True)
    file.setFormatter(logging.Formatter(FILE_FORMAT))
    escape_unprintable()
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
    """Print the sweep's log if no logging is configured, as in a notebook."""
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
def callers_logging() -> Iterator[None]:
    """Give the caller of a Python function its logging back after jobs in this process.

    A job configures logging anew. `logging.config` then closes every handler that exists, and
    replaces those of the root logger. The list of all handlers has no public name; this was read
    in Python 3.11, and is the same in 3.13.
    """
    existing: list[Any] = vars(logging)["_handlerList"]
    root = logging.getLogger()
    kept, handlers, level = existing[:], root.handlers[:], root.level
    existing.clear()
    try:
        yield
    finally:
        for handler in [*root.handlers]:
            if handler not in handlers:
                root.removeHandler(handler)
                handler.close()
        for handler in handlers:
            root.addHandler(handler)
        root.setLevel(level)
        existing[:0] = kept


@contextmanager
def _handled_by(handlers: list[logging.Handler]) -> Iterator[None]:
    logger = logging.getLogger(LOGGER)
    if logger.handlers:  # logging is configured
        yield
        return
    logger.handlers, logger.propagate = list(handlers), False
    try:
        yield
    finally:
        logger.handlers, logger.propagate = [], True
