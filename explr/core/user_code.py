"""Calls the user's code, contains what it leaves behind, and finds its part of a traceback."""

from __future__ import annotations

import ctypes
import io
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import _exit  # a training may have replaced `os._exit`
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from explr.core.errors import ExplrError, described
from explr.core.signals import is_stop

if TYPE_CHECKING:
    from explr.core.protocols import TrainFunction, TrainingContext


_context: TrainingContext | None = None


def call_train_function(train_model: TrainFunction, context: TrainingContext) -> Any:
    """Call the training function; `running_context` returns its context in the meantime."""
    global _context
    before, _context = _context, context
    try:
        with contained():
            return train_model(context)
    finally:
        _context = before


def running_context() -> TrainingContext | None:
    """The context of the training that runs in this process; None if none does."""
    return _context


@contextmanager
def contained() -> Iterator[None]:
    """Contain what the user's code within the block leaves behind.

    A process that it forked and that reaches the end of the block ends there: its value is not the
    training's. Standard streams that cannot be written to any more are replaced.
    """
    process, streams = os.getpid(), (sys.stdout, sys.stderr)
    try:
        yield
    except BaseException as error:
        if os.getpid() != process:
            _end_fork(error)
        raise
    else:
        if os.getpid() != process:
            _end_fork(None)
    finally:
        _mend_streams(*streams)


@contextmanager
def failing_trial() -> Iterator[None]:
    """Have a trial fail by what would end a process of its own: `exit()`, or its own Ctrl-C.

    Raises:
        Exception: the training raised it.
        ExplrError: the training raised something else.
        KeyboardInterrupt: this process was told to stop.
    """
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exception) or is_stop(error):
            raise
        how = f"raised {described(error)}"
        if isinstance(error, SystemExit):
            how = f"called exit({error.code})"
        raise ExplrError(f"the training {how}") from error


_elsewhere: tuple[BaseException, TracebackType | None] | None = None


def raised_elsewhere(error: BaseException) -> BaseException:
    """Note that the training function has raised an exception in another process.

    Args:
        error: the exception, with its traceback in that process.
    """
    global _elsewhere
    _elsewhere = error, error.__traceback__
    return error


def user_traceback(error: BaseException) -> TracebackType | None:
    """The part of a traceback within the training function; None if there is none."""
    if _elsewhere is not None and _elsewhere[0] is error:
        return _elsewhere[1]
    frame = error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code is call_train_function.__code__:
            return frame.tb_next
        frame = frame.tb_next
    return None


def flush_streams() -> None:
    """Write what Python and the C library have buffered, as far as it can be written."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # there is nowhere left to tell it
            stream.flush()
    ctypes.CDLL(None).fflush(None)


def end_process(code: int) -> NoReturn:
    """End this process at once, whatever its streams have become."""
    try:
        flush_streams()
    finally:
        _exit(code)


def _end_fork(error: BaseException | None) -> NoReturn:
    """End this process as an interpreter ends a forked one, but without its exit handlers."""
    code: Any = 0 if error is None else 1
    if isinstance(error, SystemExit):
        code = error.code or 0
    elif error is not None:
        traceback.print_exception(error)
    end_process(code if isinstance(code, int) else 1)


def _mend_streams(out: TextIO, err: TextIO) -> None:
    """Replace standard streams that cannot be written to by those of before, or by new ones."""
    for name, descriptor, before in (("stdout", 1, out), ("stderr", 2, err)):
        if not _is_writable(getattr(sys, name)):
            setattr(sys, name, before if _is_writable(before) else _reopened(descriptor))


def _is_writable(stream: TextIO | None) -> bool:
    if stream is None:  # what is printed goes nowhere
        return True
    try:
        stream.write("")
        stream.flush()
        os.fstat(stream.fileno())
    except (AttributeError, io.UnsupportedOperation):  # a stream of the user's without a file
        return hasattr(stream, "flush")
    except Exception:  # noqa: BLE001 - whatever its methods raise
        return False
    return True


def _reopened(descriptor: int) -> TextIO:
    with suppress(OSError):
        return open(descriptor, "w", errors="backslashreplace", closefd=False)
    return open(os.devnull, "w")
