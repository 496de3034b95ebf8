"""Who is at the other end of a Unix socket."""

from __future__ import annotations

import os
import socket
import struct

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid: `struct ucred` in unix(7)


def same_user(connected: socket.socket) -> bool:
    """Whether the process at the other end runs as the user that this one runs as.

    Args:
        connected: a connected socket of the Unix family, on Linux.
    """
    data = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user, _ = _CREDENTIALS.unpack(data)
    return bool(user == os.geteuid())
