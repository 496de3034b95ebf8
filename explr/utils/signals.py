"""SIGTERM taken as Ctrl-C, by the process that asked for it and by none that it forks."""

from __future__ import annotations

import os
import signal
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM came; whatever closes its files on Ctrl-C does so now."""


def interrupt(number: int, frame: FrameType | None) -> None:
    """The handler for SIGTERM; to be set with `signal.signal`.

    Raises:
        Terminated: always.
    """
    raise Terminated


def _forget_in_child() -> None:
    # `multiprocessing` ends its workers, a DataLoader's for one, with SIGTERM: they must not
    # unwind a copy of the training instead.
    if signal.getsignal(signal.SIGTERM) is interrupt:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


os.register_at_fork(after_in_child=_forget_in_child)
