"""The controller's link to its fork server, which may be shared.

A shared server is found by a name in Linux's abstract socket namespace, which needs no file. The
process that can bind the name starts the server; all others connect. It ends with the last of them.
"""

from __future__ import annotations

import errno
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection

from explr.core.errors import ExplrError
from explr.launching.messages import SetUp, same_user
from explr.launching.pickles import dumps

EXIT_TIMEOUT_S = 30.0
"""Seconds that the process, and all that it ends, get to end by themselves."""

STARTS = 3
"""How often a server is started that is killed before it is ready."""

_AGAIN_S = 0.01


class ServerLink:
    """A connection to a fork server.

    Args:
        connection: sends jobs to the server, and receives their outcomes.
        process: the server; None if it is shared.
    """

    def __init__(self, connection: Connection, process: subprocess.Popen[bytes] | None) -> None:
        self.connection = connection
        self._process = process

    def close(self) -> None:
        """Stop the jobs of this link, and the server if it has no other link."""
        self.connection.close()
        if self._process is None:
            return
        try:
            self._process.wait(timeout=EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def lost(self) -> int:
        """Close the link to a server that is gone; the exit code of the jobs that went with it."""
        self.connection.close()
        if self._process is not None:
            self._process.wait()
        return -signal.SIGKILL  # the kernel sends it, see `end_with`


def link_server(set_up: SetUp, shared: str | None = None) -> ServerLink:
    """Start a fork server, or connect to a shared one.

    Args:
        set_up: what its jobs have in common.
        shared: name of the server; all callers that pass it pass the same `set_up`. With None, and
            on any system but Linux, the caller gets its own server.

    Raises:
        ExplrError: it does not start, or its `prepare` raised it.
    """
    link, cuda = _link(set_up, shared)
    if cuda and set_up.preload:
        # An import used the GPU, so no forked process could use it.
        link.close()
        return link_server(replace(set_up, preload=[]), shared)
    return link


class _Killed(ExplrError):
    """The server was killed before it was ready."""


def _link(set_up: SetUp, shared: str | None) -> tuple[ServerLink, bool]:
    """See `link_server`; a server that is killed while it starts is started again."""
    for _ in range(STARTS - 1):
        with suppress(_Killed):  # if it is so each time, a library may crash: that is told
            return _link_once(set_up, shared)
    return _link_once(set_up, shared)


def _link_once(set_up: SetUp, shared: str | None) -> tuple[ServerLink, bool]:
    if shared is None or sys.platform != "linux":
        return _start(set_up)
    return _meet(set_up, f"\0explr-{shared}-{'warm' if set_up.preload else 'bare'}")


def _meet(set_up: SetUp, address: str) -> tuple[ServerLink, bool]:
    """Connect to the server at an address, or be the one who starts it."""
    while True:
        door = socket.socket(socket.AF_UNIX)
        try:
            door.bind(address)
        except OSError as error:
            door.close()
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            door.listen(socket.SOMAXCONN)
            return _start(set_up, door)
        # It may be ending, or it did not start: then start it again.
        with suppress(EOFError, ConnectionError):
            return _connect(address)
        time.sleep(_AGAIN_S)


def _connect(address: str) -> tuple[ServerLink, bool]:
    with socket.socket(socket.AF_UNIX) as there:
        there.connect(address)
        if not same_user(there):
            raise ExplrError("another user has taken the name of the process that jobs start from")
        connection = Connection(there.detach())
    try:
        return ServerLink(connection, None), bool(connection.recv())
    except BaseException:
        connection.close()
        raise


def _start(set_up: SetUp, door: socket.socket | None = None) -> tuple[ServerLink, bool]:
    """Start a server; the link to it, and whether its imports have used a GPU."""
    ours, theirs = socket.socketpair()
    sockets = [theirs, *([door] if door else [])]
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "explr.launching", *(str(each.fileno()) for each in sockets)],
        pass_fds=[each.fileno() for each in sockets],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    for each in sockets:
        each.close()
    if door is not None:
        process.wait()  # the server is a fork of it, which has detached
    connection = Connection(ours.detach())
    order = dumps(set_up)
    try:
        connection.send((sys.path, sys.argv))
        connection.send_bytes(order)
        answer = connection.recv()
    except (EOFError, OSError):
        connection.close()
        code = process.wait() if door is None else None  # of a detached process nobody knows it
        how = "ended before it was ready" if code is None else f"ended with code {code}"
        kind = _Killed if code is None or code < 0 else ExplrError
        raise kind(f"the process that jobs start from {how}") from None
    if isinstance(answer, ExplrError):
        connection.close()
        process.wait()
        raise answer
    return ServerLink(connection, process if door is None else None), answer
