"""A proxy before an MLflow server that answers as servers and what stands before them do on bad
days."""

from __future__ import annotations

import http.client
import random
import socket
import struct
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

FAULTS = ("500", "502", "429", "404", "413", "html", "torn", "reset", "slow")
"""What can happen to one request; an expired token meets many in a row."""
LOGIN_PAGE = b"<!doctype html><html><body><form>Sign in to continue</form></body></html>"


@dataclass(frozen=True)
class Request:
    """A request as the proxy sees it.

    Args:
        method: PUT, POST, …
        path: decoded, without the query.
        body: the whole body.
        authorization: the header of that name, "" for none.
    """

    method: str
    path: str
    body: bytes
    authorization: str

    @property
    def is_artifact(self) -> bool:
        """Whether a file is uploaded."""
        return self.method == "PUT" and "/mlflow-artifacts/" in self.path


@dataclass(frozen=True)
class Fault:
    """What happens to a request.

    Args:
        kind: one of `FAULTS`, or `401`.
        reaches: the server gets the request and carries it out; only the answer is another one.
    """

    kind: str
    reaches: bool = False


class RandomFaults:
    """Draws faults, the same ones for the same seed and order of requests.

    Args:
        seed: of the draw.
        share: probability of a fault.
    """

    def __init__(self, seed: int, share: float = 0.1) -> None:
        self._random = random.Random(seed)
        self._share = share
        self._expired = 0

    def __call__(self, request: Request) -> Fault | None:
        if request.is_artifact and is_forbidden(request.path):
            return Fault("413" if zlib.crc32(request.path.encode()) % 4 else "404")
        if self._expired:
            self._expired -= 1
            return Fault("401")
        draw, reaches = self._random.random(), self._random.random() < 0.5
        kind = self._random.choice((*FAULTS, "401"))
        if draw >= self._share:
            return None
        if kind == "401":  # the token has expired: nothing works until it is renewed
            self._expired = self._random.randrange(12)
            return Fault("401")
        if kind in ("404", "413") and request.is_artifact:
            kind = "502"  # a file is refused for good, or not at all
        return Fault(kind, reaches and kind not in ("404", "413", "429"))


def is_forbidden(path: str) -> bool:
    """Whether the server takes no such artifact: half of all that are named so.

    Args:
        path: anything that ends with the name of the artifact.
    """
    return "forbidden" in path.rpartition("/")[2]


class FaultyProxy:
    """Passes requests on to a server, and does to each what `faults` says.

    Args:
        port: port of the server on this machine.
        faults: what happens to a request; None for nothing.
        slow_s: how long a slow answer takes.
    """

    def __init__(
        self, port: int, faults: Callable[[Request], Fault | None], slow_s: float = 12.0
    ) -> None:
        self.closing = threading.Event()
        proxy = self

        class Handler(_Handler):
            def answer(self, request: Request) -> None:
                self.carry_out(request, faults(request), port, slow_s, proxy.closing)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.uri = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> FaultyProxy:
        return self

    def __exit__(self, *exc: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, request: Request) -> None:
        raise NotImplementedError

    def _do(self) -> None:
        body = self._body()
        authorization = self.headers.get("Authorization") or ""
        path = unquote(self.path.partition("?")[0])
        self.answer(Request(self.command, path, body, authorization))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _do

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def _body(self) -> bytes:
        if "chunked" not in (self.headers.get("Transfer-Encoding") or ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def carry_out(
        self,
        request: Request,
        fault: Fault | None,
        port: int,
        slow_s: float,
        closing: threading.Event,
    ) -> None:
        if fault is None:
            self._reply(*self._forward(request, port))
            return
        answer = self._forward(request, port) if fault.reaches or fault.kind == "slow" else None
        match fault.kind:
            case "slow":
                assert answer is not None
                closing.wait(slow_s)
                self._reply(*answer)
            case "html":
                self._reply(200, LOGIN_PAGE, "text/html")
            case "torn":
                self._reply(200, b'{"run": {"info": ', "application/json", torn=True)
            case "reset":
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.close_connection = True
                self.connection.close()
            case status:
                page = f"<html><h1>{status}</h1><p>sorry</p></html>"
                self._reply(int(status), page.encode(), "text/html")

    def _forward(self, request: Request, port: int) -> tuple[int, bytes, str]:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        dropped = ("host", "connection", "transfer-encoding", "content-length", "accept-encoding")
        headers = {k: v for k, v in self.headers.items() if k.lower() not in dropped}
        try:
            connection.request(self.command, self.path, request.body or None, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers.get("Content-Type", "")
        finally:
            connection.close()

    def _reply(self, status: int, body: bytes, content_type: str, torn: bool = False) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body) + 1000 * torn))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            self.close_connection = True  # the client has gone
        if torn:
            self.close_connection = True
            self.connection.close()
