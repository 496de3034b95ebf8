"""What a job of a sweep is told of the sweep, in whichever process it runs."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Sweep:
    """The sweep that the job at hand belongs to.

    Args:
        journal: journal of the sweep's own run.
        host: machine of the controller, whose companion ships the journals of that machine.
        keeps_folders: a trial keeps its folder over several attempts, which are one run.
        tags: what all its jobs have in common: the commit, the versions of packages.
    """

    journal: Path
    host: str
    keeps_folders: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_here(self) -> bool:
        """Whether the controller runs on this machine."""
        return self.host == socket.gethostname()


_current: Sweep | None = None
_judge: Callable[[], bool] | None = None


def announce(sweep: Sweep | None) -> None:
    """Tell the job that starts next in this process which sweep it belongs to."""
    global _current
    _current = sweep


def current() -> Sweep | None:
    """The sweep that the job at hand belongs to; None outside one."""
    return _current


@contextmanager
def judged_by(every_trial_failed: Callable[[], bool]) -> Iterator[None]:
    """Tell, for the end of a sweep within the block, whether it has failed though nobody raised."""
    global _judge
    before, _judge = _judge, every_trial_failed
    try:
        yield
    finally:
        _judge = before


def has_failed() -> bool:
    """Whether every trial of the sweep that ends has failed, where that is known here."""
    return _judge is not None and _judge()
