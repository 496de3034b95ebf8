"""What a job of a sweep is told of the sweep, in whichever process it runs."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sweep:
    """The sweep that the job at hand belongs to.

    Args:
        journal: journal of the sweep's own run.
        host: machine of the controller, whose companion ships the journals of that machine.
        keeps_folders: a trial keeps its folder over several attempts, which are one run.
    """

    journal: Path
    host: str
    keeps_folders: bool = False

    @property
    def is_here(self) -> bool:
        """Whether the controller runs on this machine."""
        return self.host == socket.gethostname()


_current: Sweep | None = None


def announce(sweep: Sweep | None) -> None:
    """Tell the job that starts next in this process which sweep it belongs to."""
    global _current
    _current = sweep


def current() -> Sweep | None:
    """The sweep that the job at hand belongs to; None outside one."""
    return _current
