"""The sweep that a job belongs to, in any process."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Sweep:
    """The sweep of the current job.

    Args:
        journal: journal of the sweep's own run.
        host: machine of the controller, whose companion uploads the journals of that machine.
        keeps_folders: several attempts at a trial share its folder and are one run.
        tags: tags that all its jobs have in common: the commit, the versions of packages.
        command: the command that started it, as `sweep.json` has it.
        experiment: name of its experiment.
        overrides: overrides that all its jobs have in common.
    """

    journal: Path
    host: str
    keeps_folders: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    command: Mapping[str, Any] = field(default_factory=dict)
    experiment: str | None = None
    overrides: Sequence[str] = ()

    @property
    def is_here(self) -> bool:
        """Whether the controller runs on this machine."""
        return self.host == socket.gethostname()


_current: Sweep | None = None
_judge: Callable[[], bool] | None = None


def set_current_sweep(sweep: Sweep | None) -> None:
    """Set the sweep of the job that starts next in this process."""
    global _current
    _current = sweep


def current() -> Sweep | None:
    """The sweep of the current job; None outside a sweep."""
    return _current


@contextmanager
def judged_by(every_trial_failed: Callable[[], bool]) -> Iterator[None]:
    """Within the block, have `has_failed` ask whether every trial failed; nothing raises then."""
    global _judge
    before, _judge = _judge, every_trial_failed
    try:
        yield
    finally:
        _judge = before


def has_failed() -> bool:
    """Whether every trial of the sweep that ends has failed; False if that is not known."""
    return _judge is not None and _judge()
