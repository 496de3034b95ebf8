"""Console output: verbosity, terminals and notebooks, pipes whose reader may exit."""

from __future__ import annotations

import codecs
import errno
import io
import logging
import os
import stat
import sys
from enum import IntEnum
from typing import Any, TextIO

STANDARD_LIBRARY = os.path.dirname(os.__file__) + os.sep

INSTALLED = ("site-packages", "dist-packages")
"""Folders of installed libraries."""


class Verbosity(IntEnum):
    """How much explr shows."""

    QUIET = -1
    NORMAL = 0
    VERBOSE = 1


_chosen = Verbosity.NORMAL
_own = {"explr"}


def verbosity() -> Verbosity:
    """The verbosity of this process."""
    return _chosen


def set_verbosity(chosen: Verbosity) -> None:
    """Set the verbosity of this process."""
    global _chosen
    _chosen = chosen
    logging.getLogger("explr").setLevel(
        logging.DEBUG if chosen is Verbosity.VERBOSE else logging.NOTSET
    )
    if chosen is not Verbosity.VERBOSE:  # TensorFlow's C++ logs errors only
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def count_as_own(task: Any) -> None:
    """Show the logs of a training function's package even if it is an installed library."""
    module = getattr(task, "__module__", None) or type(task).__module__
    _own.add(str(module).partition(".")[0])


class ConsoleFilter(logging.Filter):
    """Shows records by verbosity; of libraries only errors, unless verbose."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to show a record."""
        if _chosen is Verbosity.VERBOSE:
            return True
        own = record.name.partition(".")[0] in _own
        if not own and is_installed(record.pathname):
            return record.levelno >= logging.ERROR
        return record.levelno >= (logging.WARNING if _chosen is Verbosity.QUIET else logging.INFO)


def is_installed(path: str) -> bool:
    """Whether a source file belongs to Python or to an installed library."""
    return path.startswith(STANDARD_LIBRARY) or any(f"/{name}/" in path for name in INSTALLED)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal that can be drawn on."""
    try:
        there = stream is not None and stream.isatty()
    except ValueError:  # it is closed
        return False
    return there and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")


def in_notebook() -> bool:
    """Whether this process is a Jupyter kernel."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


GONE = (errno.EPIPE, errno.EIO)
"""What a write into a pipe without a reader says, and one to a terminal that was closed."""


class _Lasting(io.TextIOWrapper):
    """A stream into a pipe or a terminal that discards its text once that is gone."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self._discard(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._discard(error)

    def _discard(self, error: OSError) -> None:
        if error.errno not in GONE:
            raise error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


def open_closed_streams() -> None:
    """Open what is closed of the standard streams to nowhere.

    Else a file that is opened later has the number of one, and gets what C code prints.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number
        if getattr(sys, name) is None:
            stream = open(number, "w" if number else "r", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def escape_unprintable() -> None:
    """Have all output escape what its encoding lacks, such as `ü` in ASCII, in place of failing.

    This holds for the standard streams and for those of the log, its files included.
    """
    handlers = logging.getLogger().handlers
    logs = [each.stream for each in handlers if isinstance(each, logging.StreamHandler)]
    for stream in (sys.stdout, sys.stderr, *logs):
        if not isinstance(stream, io.TextIOWrapper) or stream.closed:
            continue
        in_utf8 = codecs.lookup(stream.encoding).name == "utf-8"
        if stream.errors in (("strict",) if in_utf8 else ("strict", "surrogateescape")):
            stream.reconfigure(errors="backslashreplace")


def outlive_readers() -> None:
    """Keep this process running if the reader of its output exits, or the terminal is closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if type(stream) is not io.TextIOWrapper:
            continue
        mode = os.fstat(stream.fileno()).st_mode
        if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stream.isatty()):
            continue
        kept = (stream.encoding, stream.errors, None, stream.line_buffering, stream.write_through)
        lasting = _Lasting(stream.detach(), *kept)
        setattr(sys, name, lasting)
        setattr(sys, f"__{name}__", lasting)
