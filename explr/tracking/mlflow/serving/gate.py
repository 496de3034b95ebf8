"""The gate before the local MLflow server: whom it lets in, and to what.

MLflow's `basic-auth` app would need a further package and a database of users, and takes up to a
second for each request of a page to check a password's hash. Here one password is compared.
"""

from __future__ import annotations

import base64
import hmac
import os
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from explr.core.errors import TrackingError
from explr.core.folders import replace_file

USER = "explr"
"""The name that goes with the password."""

VARIABLE = "EXPLR_SERVER_PASSWORD_FILE"
"""Names the file with the password to the server's processes; unset if it asks for none."""

ASSISTANT = "/mlflow/assistant"
"""In the paths of MLflow's assistant, which runs commands with the rights of the server's user."""

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Callable[[], Awaitable[Message]], Send], Awaitable[None]]


def password_file(home: Path) -> Path:
    """The file with the password of the servers of a home; none of them asks if it is missing.

    Args:
        home: folder for the server's files.
    """
    return home / "server.password"


def make_password(home: Path) -> Path:
    """Make sure that there is a password, which only this user can read.

    Args:
        home: folder for the server's files.

    Returns:
        The file that it is in.

    Raises:
        TrackingError: the file cannot be written.
    """
    path = password_file(home)
    try:
        if not path.exists():
            replace_file(path, f"{secrets.token_urlsafe(24)}\n")
    except OSError as error:
        reason = error.strerror or error
        raise TrackingError(f"the server's password cannot be kept in {path}: {reason}") from error
    return path


def credentials(home: Path) -> dict[str, str]:
    """MLflow's variables for a client of the servers of a home; empty if they ask for no password.

    Args:
        home: folder for the server's files.
    """
    password = _password(password_file(home))
    named = {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": password}
    return named if password else {}


def login(path: Path) -> str | None:
    """The header of a client that knows the password; None if there is none.

    Args:
        path: the file with the password.
    """
    password = _password(path)
    return "Basic " + base64.b64encode(f"{USER}:{password}".encode()).decode() if password else None


def _password(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # as if there were none, and then nobody is let in
        return ""


class Gate:
    """An ASGI app that passes on to another one what it lets in.

    The password is read for each request, so a new one holds at once, and without one in its file
    nobody is let in.

    Args:
        app: the other app.
        path: file with the password; None asks for none, and keeps everybody from the assistant.
    """

    def __init__(self, app: App, path: Path | None) -> None:
        self._app = app
        self._path = path

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Send
    ) -> None:
        """Answer one request, or pass it on."""
        if scope["type"] == "lifespan" or self._lets_in(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        elif self._path is None:
            await _refuse(send, 403, b"MLflow's assistant needs a password: see explr mlflow-ui")
        else:
            text = f"user {USER}, and the password in {self._path}\n".encode()
            await _refuse(send, 401, text, (b"www-authenticate", b'Basic realm="explr"'))

    def _lets_in(self, scope: Message) -> bool:
        if self._path is None:
            return ASSISTANT not in scope["path"]
        known = login(self._path)
        given = dict(scope["headers"]).get(b"authorization", b"")
        return known is not None and hmac.compare_digest(given, known.encode())


async def _refuse(send: Send, status: int, text: bytes, *headers: tuple[bytes, bytes]) -> None:
    described = [(b"content-type", b"text/plain; charset=utf-8"), *headers]
    await send({"type": "http.response.start", "status": status, "headers": described})
    await send({"type": "http.response.body", "body": text})


def app() -> App:
    """MLflow's app behind the gate: what `mlflow server --app-name explr` serves."""
    from mlflow.server.fastapi_app import app as served

    path = os.environ.get(VARIABLE)
    return Gate(served, None if path is None else Path(path))
