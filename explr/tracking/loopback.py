"""Ports and requests on this machine alone, past any proxy.

The network libraries are imported when they are used: most processes never do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from explr.core.errors import TrackingError

if TYPE_CHECKING:
    import socket

HOST = "127.0.0.1"

_BACKLOG = 128


def listen(port: int) -> socket.socket:
    """A socket that listens on `port` of the loopback interface, or on a free one if it is taken.

    Args:
        port: 0 to 65535; 0 takes any that is free.

    Raises:
        TrackingError: there is no free port.
    """
    import socket

    for candidate in (port, 0):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Accepted connections inherit it; a server that is handed the socket does not set it.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            listener.bind((HOST, candidate))
            listener.listen(_BACKLOG)
        except OSError as error:
            listener.close()
            reason = error.strerror or str(error)
        else:
            return listener
    raise TrackingError(f"there is no free port on {HOST}: {reason}")


def answers(url: str, timeout_s: float) -> bool:
    """Whether the MLflow server at `url` answers a question about its store.

    Not `/version`: that one answers while the store is out of reach.

    Args:
        url: address without a trailing slash.
        timeout_s: seconds to wait for the connection, and for each part of the answer.
    """
    import http.client
    import json
    import urllib.request

    request = urllib.request.Request(
        f"{url}/api/2.0/mlflow/experiments/search",
        data=json.dumps({"max_results": 1}).encode(),
        headers={"Content-Type": "application/json"},
        method="POST",
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout_s) as response:
            return isinstance(json.load(response), dict)
    except (OSError, ValueError, http.client.HTTPException):
        return False


def past_proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """A copy of `environment` in which the loopback interface is reached without a proxy."""
    result = dict(environment)
    for name in ("NO_PROXY", "no_proxy"):
        hosts = [host.strip() for host in environment.get(name, "").split(",") if host.strip()]
        if "*" not in hosts:
            hosts += [host for host in (HOST, "localhost") if host not in hosts]
        result[name] = ",".join(hosts)
    return result
