"""What a person sees: how much of the log, on which streams, and output whose reader may leave."""

from __future__ import annotations

import io
import logging
import os
import stat
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
    return is_installed(record.pathname)


def is_installed(path: str) -> bool:
    """Whether a source file belongs to Python or to an installed library."""
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


class _Lasting(io.TextIOWrapper):
    """A stream into a pipe; what is written after its reader has gone goes nowhere."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except BrokenPipeError:
            self._let_go()
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except BrokenPipeError:
            self._let_go()

    def _let_go(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


def outlive_readers() -> None:
    """Have this process go on when what reads its standard output or error ends first."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if type(stream) is not io.TextIOWrapper or not _is_pipe(stream):
            continue
        kept = (stream.encoding, stream.errors, None, stream.line_buffering, stream.write_through)
        lasting = _Lasting(stream.detach(), *kept)
        setattr(sys, name, lasting)
        setattr(sys, f"__{name}__", lasting)


def _is_pipe(stream: io.TextIOWrapper) -> bool:
    mode = os.fstat(stream.fileno()).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
