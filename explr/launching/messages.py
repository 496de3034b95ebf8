"""What the controller, the process that jobs are forked from, and the jobs tell one another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SetUp:
    """What the server needs once.

    Args:
        preload: modules to import; one that is not there is left to the job to complain about.
        prepare: called in the server after that; an `ExplrError` that it raises is the answer.
        warm_up: called in each job's process ahead of its job; it leaves nothing behind.
        run: called in the job's process with each job's argument; its return value comes back.
    """

    preload: list[str]
    prepare: Callable[[], None]
    warm_up: Callable[[], None]
    run: Callable[[Any], Any]


@dataclass(frozen=True)
class Start:
    """One job.

    Args:
        key: names the job between server and controller.
        argument: what `run` is called with, pickled.
        environment: variables to set before anything else happens in the job.
        output: file that its standard output and error are appended to; None keeps them.
        answer: file that its pickled return value, or the exception it raised, is written to.
    """

    key: int
    argument: bytes
    environment: dict[str, str]
    output: str | None
    answer: str


@dataclass(frozen=True)
class Signal:
    """A signal for the session of a job."""

    key: int
    number: int


@dataclass(frozen=True)
class Started:
    """A job's process is there, and leads the session `pid`."""

    key: int
    pid: int


@dataclass(frozen=True)
class Ended:
    """A job's process is gone.

    Args:
        key: the job.
        code: its exit code; negative is the signal that killed it.
    """

    key: int
    code: int
