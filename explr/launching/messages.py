"""Messages between the controller, the fork server and the jobs, and who may send them."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SetUp:
    """What the server needs once.

    Args:
        preload: modules to import; the job reports a missing one.
        prepare: called in the server after the imports; an `ExplrError` is sent back.
        warm_up: called in the process of each job before the job comes; has no lasting effect.
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
    """The process of a job has ended.

    Args:
        key: the job.
        code: its exit code; negative is the signal that killed it.
    """

    key: int
    code: int


_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid: `struct ucred` in unix(7)


def same_user(connected: socket.socket) -> bool:
    """Whether the process at the other end belongs to the same user.

    Args:
        connected: a connected socket of the Unix family, on Linux.
    """
    data = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user, _ = _CREDENTIALS.unpack(data)
    return bool(user == os.geteuid())
