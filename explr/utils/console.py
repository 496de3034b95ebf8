"""How much a person sees of what is logged: the rest is in the log file of the run or sweep."""

from __future__ import annotations

import logging
import os
import sys
from enum import IntEnum
from typing import Any, TextIO

STANDARD_LIBRARY = os.path.dirname(os.__file__) + os.sep

INSTALLED = ("site-packages", "dist-packages")
"""Folders that libraries are installed in."""


class Verbosity(IntEnum):
    """How much is shown."""

    QUIET = -1
    NORMAL = 0
    VERBOSE = 1


_chosen = Verbosity.NORMAL
_own = {"explr"}


def verbosity() -> Verbosity:
    """How much this process shows."""
    return _chosen


def be(chosen: Verbosity) -> None:
    """Show so much from now on."""
    global _chosen
    _chosen = chosen
    logging.getLogger("explr").setLevel(
        logging.DEBUG if chosen is Verbosity.VERBOSE else logging.NOTSET
    )
    if chosen is not Verbosity.VERBOSE:  # of what TensorFlow says in C++, the errors
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def count_as_own(task: Any) -> None:
    """Show what the package of a training function logs, though it be installed as a library."""
    module = getattr(task, "__module__", None) or type(task).__module__
    _own.add(str(module).partition(".")[0])


class ConsoleFilter(logging.Filter):
    """Lets through what a person is to see: of libraries only errors, unless more is wanted."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to show a record."""
        if _chosen is Verbosity.VERBOSE:
            return True
        if _is_librarys(record):
            return record.levelno >= logging.ERROR
        return record.levelno >= (logging.WARNING if _chosen is Verbosity.QUIET else logging.INFO)


def _is_librarys(record: logging.LogRecord) -> bool:
    if record.name.partition(".")[0] in _own:
        return False
    path = record.pathname
    return path.startswith(STANDARD_LIBRARY) or any(f"/{name}/" in path for name in INSTALLED)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream ends at a person's screen that can be drawn on."""
    try:
        there = stream is not None and stream.isatty()
    except ValueError:  # it is closed
        return False
    return there and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")


def in_notebook() -> bool:
    """Whether this is a kernel of Jupyter's."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")
