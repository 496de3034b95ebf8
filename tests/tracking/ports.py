"""Ports that nobody else takes until a server of the tests listens on them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager


@contextmanager
def held_port() -> Iterator[int]:
    """A port of the loopback interface on which nobody listens, and that the system gives nobody.

    A socket that is bound, and does not listen, leaves it to a server that asks for it by number.
    """
    with closing(socket.socket()) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])
