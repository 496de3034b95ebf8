"""Environment variables: set for a while, and those that name proxies."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from urllib.request import OpenerDirector


LOOPBACK = ("127.0.0.1", "localhost")
"""Hosts that are this machine, which no proxy can reach."""


@contextmanager
def environment(variables: Mapping[str, str | None]) -> Iterator[None]:
    """Set environment variables within the block.

    Args:
        variables: texts by name; None removes a variable.
    """
    before = {name: os.environ.get(name) for name in variables}
    _put(variables)
    try:
        yield
    finally:
        _put(before)


def _put(variables: Mapping[str, str | None]) -> None:
    for name, text in variables.items():
        if text is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = text


def past_proxies(environment: Mapping[str, str], url: str = "") -> dict[str, str]:
    """Variables with which the requests to this machine, and what else has none, use no proxy.

    Libraries read `no_proxy` first, and `NO_PROXY` if it is not set.

    Args:
        environment: the variables before.
        url: an address; its host is named too if it is this machine under another name.

    Returns:
        `NO_PROXY` and `no_proxy`.
    """
    host = _host_of(url)
    more = (host,) if _is_this_machine(host) else ()
    variables = {}
    for name, other in (("NO_PROXY", "no_proxy"), ("no_proxy", "NO_PROXY")):
        given = environment.get(name) or environment.get(other, "")
        hosts = [part.strip() for part in given.split(",") if part.strip()]
        if hosts != ["*"]:
            hosts += [part for part in (*LOOPBACK, *more) if part not in hosts]
        variables[name] = ",".join(dict.fromkeys(hosts))
    return variables


def opener_for(url: str) -> OpenerDirector:
    """Opens an address with `urllib`, whose own test knows neither networks nor IPv6.

    Args:
        url: the address; for one of this machine no proxy is used.
    """
    from urllib.request import ProxyHandler, build_opener

    return build_opener(*([ProxyHandler({})] if _is_this_machine(_host_of(url)) else []))


def _host_of(url: str) -> str:
    """The host in a URL, without the brackets of IPv6; "" if it has none."""
    from urllib.parse import urlsplit

    with suppress(ValueError):
        return urlsplit(url).hostname or ""
    return ""


def _is_this_machine(host: str) -> bool:
    """Whether a host is an address or a name of the loopback interface."""
    import ipaddress
    import socket

    if host == "localhost" or host.endswith(".localhost"):
        return True
    with suppress(OSError):  # 127.1 is short for 127.0.0.1
        host = socket.inet_ntoa(socket.inet_aton(host))
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified
