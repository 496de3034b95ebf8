"""SIGTERM as Ctrl-C, blocks that neither interrupts, and processes that end with their parent."""

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
    """SIGTERM arrived; code that cleans up on Ctrl-C does so."""


def interrupt(number: int, frame: FrameType | None) -> None:
    """The handler for SIGTERM, for `signal.signal`.

    Raises:
        Terminated: always.
    """
    raise Terminated


def end_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, whatever the cause.

    Args:
        parent: the parent's process id, read while the parent was certainly alive.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent ended before the call
        os._exit(1)


def _forget_in_child() -> None:
    # `multiprocessing` stops its workers, such as a DataLoader's, with SIGTERM. A worker must end,
    # and not unwind its copy of the training.
    if signal.getsignal(signal.SIGTERM) is interrupt:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


os.register_at_fork(after_in_child=_forget_in_child)


@contextmanager
def terminable() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C within the block, unless SIGTERM already has a handler.

    Raises:
        Terminated: SIGTERM arrived.
    """
    theirs = signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    if theirs or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay Ctrl-C and SIGTERM until the block is done.

    Raises:
        KeyboardInterrupt: one of them arrived during the block.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {}
    for number in (signal.SIGINT, signal.SIGTERM):
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
