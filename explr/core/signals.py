"""SIGTERM as Ctrl-C, blocks that neither may interrupt, and a process that ends with its parent."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

PR_SET_PDEATHSIG = 1
"""From `linux/prctl.h`: the signal that a process gets when its parent ends."""


class Terminated(KeyboardInterrupt):
    """SIGTERM came; whatever closes its files on Ctrl-C does so now."""


def interrupt(number: int, frame: FrameType | None) -> None:
    """The handler for SIGTERM; to be set with `signal.signal`.

    Raises:
        Terminated: always.
    """
    raise Terminated


def end_with(parent: int) -> None:
    """Have the kernel end this process when its parent ends, however that ends.

    Args:
        parent: the parent's process id, known from before it could end.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before that was said
        os._exit(1)


def _forget_in_child() -> None:
    # `multiprocessing` ends its workers, a DataLoader's for one, with SIGTERM: they must not
    # unwind a copy of the training instead.
    if signal.getsignal(signal.SIGTERM) is interrupt:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


os.register_at_fork(after_in_child=_forget_in_child)


@contextmanager
def terminable() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C within the block; a handler that somebody else set stays.

    Raises:
        KeyboardInterrupt: SIGTERM came.
    """
    theirs = signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    if theirs or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Have Ctrl-C and SIGTERM wait until the block is done: then they are what they were.

    Raises:
        KeyboardInterrupt: one of them came meanwhile.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        if callable(handler := signal.getsignal(number)):  # else it raises nothing
            before[number] = handler
            signal.signal(number, lambda one, frame: came.append(one))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for one in came:
        before[signal.Signals(one)](one, None)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
