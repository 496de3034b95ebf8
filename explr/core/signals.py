"""Signals that stop a process as Ctrl-C does, and processes that end with their parent.

A training may catch the exception of a stop and return a value. The process remembers that it was
told to stop, so that such a value does not pass for the result of a complete training.
"""

from __future__ import annotations

import ctypes
import os
import signal
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

PR_SET_PDEATHSIG = 1
"""From `linux/prctl.h`: the signal that a process gets when its parent ends."""

LIKE_CTRL_C = (signal.SIGTERM, signal.SIGHUP)
"""Signals that by default end a process without a clean-up: a scheduler's, a closed terminal's."""


class Terminated(KeyboardInterrupt):
    """This process was told to stop; code that cleans up on Ctrl-C does so."""


_stopped = False


def stop() -> NoReturn:
    """Remember that this process was told to stop, and have its training clean up.

    Raises:
        Terminated: always.
    """
    global _stopped
    _stopped = True
    raise Terminated


def check_stopped() -> None:
    """Do nothing, unless this process was told to stop.

    Raises:
        Terminated: it was, though its training may have caught that.
    """
    if _stopped:
        raise Terminated


def is_stop(error: BaseException) -> bool:
    """Whether an exception of the user's code comes from a request to stop this process.

    Where a signal raises `Terminated`, a plain KeyboardInterrupt is the code's own.
    """
    if _stopped:
        return True
    handler = signal.getsignal(signal.SIGINT)
    return isinstance(error, KeyboardInterrupt) and handler not in (interrupt, interrupt_once)


def forget_stop() -> None:
    """Have `check_stopped` do nothing again: the training was complete when it was told."""
    global _stopped
    _stopped = False


def interrupt(number: int, frame: FrameType | None) -> None:
    """The handler of a signal that stops this process, for `signal.signal`.

    Raises:
        Terminated: always.
    """
    if number == signal.SIGHUP:
        _leave_closed_terminal()
    stop()


def interrupt_once(number: int, frame: FrameType | None) -> None:
    """The handler of a job: what it does when it was told to stop is not interrupted again.

    Raises:
        Terminated: the first time.
    """
    if not _stopped:
        interrupt(number, frame)


def end_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, whatever the cause.

    Args:
        parent: the parent's process id, read while the parent was certainly alive.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent ended before the call
        os._exit(1)


def _leave_closed_terminal() -> None:
    """Discard what is written to a terminal that is gone: each write to it would raise EIO."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        status = os.fstat(descriptor)
        is_device = stat.S_ISCHR(status.st_mode) and status.st_rdev != os.fstat(nothing).st_rdev
        if is_device and not os.isatty(descriptor):
            os.dup2(nothing, descriptor)
    os.close(nothing)


def _forget_in_child() -> None:
    # `multiprocessing` stops its workers, such as a DataLoader's, with SIGTERM. A worker must end,
    # and not unwind its copy of the training.
    forget_stop()
    if signal.getsignal(signal.SIGTERM) in (interrupt, interrupt_once):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


os.register_at_fork(after_in_child=_forget_in_child)


@contextmanager
def terminable(ctrl_c: bool = False) -> Iterator[None]:
    """Treat SIGTERM and SIGHUP as Ctrl-C within the block, unless they already have a handler.

    Args:
        ctrl_c: remember Ctrl-C too, so that a training that catches it stops the sweep.

    Raises:
        Terminated: one of them arrived.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (*LIKE_CTRL_C, *([signal.SIGINT] if ctrl_c else [])):
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                before[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if before:
            forget_stop()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay Ctrl-C, SIGTERM and SIGHUP until the block is done.

    Raises:
        KeyboardInterrupt: one of them arrived during the block.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {}
    for number in (signal.SIGINT, *LIKE_CTRL_C):
        if callable(handler := signal.getsignal(number)):  # the default actions raise nothing
            before[number] = handler
            signal.signal(number, lambda one, frame: came.append(one))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for one in came:
        before[signal.Signals(one)](one, None)
