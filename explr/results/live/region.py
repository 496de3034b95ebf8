"""Decides whether a live view is drawn in the terminal."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from explr.results.live.training import TrainingProgress
from explr.utils.console import Verbosity, is_terminal, verbosity

if TYPE_CHECKING:
    from explr.results.live.sweep import SweepProgress


def drawn(
    progress: SweepProgress | TrainingProgress, loggers: tuple[str, ...], hidden: set[str]
) -> AbstractContextManager[object]:
    """A live region in the terminal; nothing if there is no free terminal or with `-q`."""
    if verbosity() is Verbosity.QUIET or not is_terminal(sys.stdout):
        return nullcontext()
    from explr.results.live.terminal import Screen, is_taken

    return nullcontext() if is_taken() else Screen(progress, loggers, hidden)
