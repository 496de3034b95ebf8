"""A first look at a store, without MLflow, whose import takes seconds: whether anybody answers.

It finds what MLflow would only tell much later, and says nothing in any case of doubt.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping
from typing import Any

from explr.core.errors import shortened
from explr.core.secrets.masking import redacted_text
from explr.core.secrets.shapes import without_user_info
from explr.utils.environment import opener_for

TIMEOUT_S = 2.0
"""Seconds to wait for a connection, and for each part of an answer."""

LONGEST_URI = 50
"""Characters of an address in a line for people."""

DATABASES = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
"""Ports of databases by the dialects of their addresses."""

FILE_STORES = "MLFLOW_ALLOW_FILE_STORE"
"""MLflow's variable, which its refusal of a folder names."""

NO_JSON = "not in a valid JSON format"
"""What MLflow says of an answer with status 200 that is none of its own."""

UNREACHABLE = (ConnectionError, socket.gaierror, TimeoutError)
"""Errors of a connection that was not made, or was cut off."""


def first_look(uri: str) -> str:
    """Why a store cannot be used; "" if nothing speaks against it.

    Args:
        uri: tracking URI.
    """
    shown = shortened(redacted_text(without_user_info(uri)), LONGEST_URI)
    scheme = uri.partition(":")[0].partition("+")[0]
    if scheme == "file":
        allowed = os.environ.get(FILE_STORES, "").lower() in ("1", "true")
        return "" if allowed else refused_folder(redacted_text(uri))
    try:
        if scheme in ("http", "https"):
            return answered_page(shown) if _answers_with_page(uri) else ""
        if scheme in DATABASES:
            _connect(uri, DATABASES[scheme])
    except OSError as error:
        reason = getattr(error, "reason", error)  # where urllib keeps it
        is_away = isinstance(reason, UNREACHABLE) or (
            isinstance(reason, OSError) and reason.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH)
        )
        return no_answer(shown, reason) if is_away else ""
    except ValueError:
        return ""  # MLflow judges the address
    return ""


def refused_folder(uri: str) -> str:
    """A line about a store that is a folder."""
    shown = uri if len(uri) <= LONGEST_URI else f"…{uri[1 - LONGEST_URI :]}"
    return f"MLflow refuses the folder {shown}: set tracking.uri=sqlite:///mlflow.db"


def answered_page(uri: str) -> str:
    """A line about a server that answers with a web page."""
    return f"{uri} answers with a web page, not as MLflow does: a login page?"


def no_answer(uri: str, error: OSError) -> str:
    """A line about a server that cannot be reached."""
    reason = "connection refused" if isinstance(error, ConnectionRefusedError) else error.strerror
    return f"{uri} does not answer: {reason or 'timed out'}"


def _answers_with_page(uri: str) -> bool:
    """Whether a server answers a question about its store with a web page."""
    import http.client
    import urllib.error
    import urllib.request

    request = urllib.request.Request(
        f"{without_user_info(uri).rstrip('/')}/api/2.0/mlflow/experiments/search",
        data=b'{"max_results": 1}',
        headers={"Content-Type": "application/json", **_authorization(uri, os.environ)},
        method="POST",
    )
    try:
        with opener_for(uri).open(request, timeout=TIMEOUT_S) as answer:
            start = answer.read(500).lstrip().lower()
            return bool(start.startswith((b"<!doctype", b"<html")))
    except (urllib.error.HTTPError, http.client.HTTPException):
        return False  # MLflow tells what it is about
    except TimeoutError:
        return False  # connected, but slow


def _authorization(uri: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The header with which MLflow's client says who it is."""
    import base64
    from urllib.parse import unquote, urlsplit

    url = urlsplit(uri)
    user = url.username or environment.get("MLFLOW_TRACKING_USERNAME")
    password = url.password or environment.get("MLFLOW_TRACKING_PASSWORD")
    if user and password:
        pair = f"{unquote(user)}:{unquote(password)}" if url.username else f"{user}:{password}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    token = environment.get("MLFLOW_TRACKING_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _connect(uri: str, port: int) -> None:
    from urllib.parse import urlsplit

    url: Any = urlsplit(uri)
    if url.hostname:
        socket.create_connection((url.hostname, url.port or port), TIMEOUT_S).close()
