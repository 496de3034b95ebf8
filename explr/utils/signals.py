"""SIGTERM taken as Ctrl-C by the process that asked for it; a process that ends with its parent."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
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
