import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer

import pytest
import requests

from explr.runner.cli import verify
from explr.tracking.mlflow.first_look import first_look
from explr.tracking.mlflow.private import fluent_calls_to
from explr.tracking.mlflow.serving import standby
from explr.tracking.mlflow.serving.server_process import HOST, answers, listen
from explr.tracking.mlflow.sink import MLflowSink
from explr.utils.environment import past_proxies
from explr.utils.priority import LOWEST


class Pretender(BaseHTTPRequestHandler):
    """A server that answers everything, but not as MLflow does."""

    def do_POST(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"welcome")

    def log_message(self, *_):
        pass


@pytest.fixture
def pretender() -> Iterator[str]:
    with HTTPServer((HOST, 0), Pretender) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://{HOST}:{server.server_port}"
        server.shutdown()
        thread.join()


def test_takes_the_wanted_port_and_lets_the_next_have_another():
    with listen(0) as first:
        port = first.getsockname()[1]
        with listen(port) as second:
            assert second.getsockname()[1] != port
    with listen(port) as again:
        assert again.getsockname() == (HOST, port)


def test_a_port_taken_on_every_interface_is_taken():
    with closing(socket.socket()) as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with listen(port) as listener:
            assert listener.getsockname()[1] != port


def test_silence_is_no_answer():
    with listen(0) as silent:
        url = f"http://{HOST}:{silent.getsockname()[1]}"
        assert not answers(url, timeout_s=0.2)
    assert not answers(url, timeout_s=0.2)


def test_another_programs_answer_is_no_answer(pretender: str):
    assert not answers(pretender, timeout_s=60)


PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


@pytest.mark.parametrize(
    ("lower", "upper", "after"),
    [
        (None, None, "127.0.0.1,localhost"),
        ("", None, "127.0.0.1,localhost"),
        ("corp.example, localhost", None, "corp.example,localhost,127.0.0.1"),
        (None, "corp.example", "corp.example,127.0.0.1,localhost"),
        ("", "corp.example", "corp.example,127.0.0.1,localhost"),
        ("*", None, "*"),
        (None, "*,corp.example", "*,corp.example,127.0.0.1,localhost"),
    ],
)
def test_loopback_is_added_to_what_goes_past_the_proxy(
    lower: str | None, upper: str | None, after: str
):
    """What one spelling names is not hidden by the other, which libraries read first."""
    given = {"no_proxy": lower, "NO_PROXY": upper, "HTTP_PROXY": "http://proxy:1"}
    result = past_proxies({name: text for name, text in given.items() if text is not None})
    assert result == {"no_proxy": after, "NO_PROXY": after}


class Witness(BaseHTTPRequestHandler):
    """Answers as a server of MLflow's without experiments, and notes who is asked for."""

    seen: list[str]

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.seen.append(self.path)
        content = b'{"experiments": []}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_CONNECT = do_POST

    def log_message(self, *_):
        pass


@contextmanager
def witness(host: str) -> Iterator[tuple[str, list[str]]]:
    """A server on a host, its address, and what it was asked for."""
    seen: list[str] = []

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    with Server((host.strip("[]"), 0), type("Handler", (Witness,), {"seen": seen})) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://{host}:{server.server_port}", seen
        server.shutdown()
        thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("host", [HOST, "localhost", "127.0.0.2", "127.1", "[::1]"])
def test_requests_to_this_machine_use_no_proxy(host: str, monkeypatch: pytest.MonkeyPatch):
    """Those of the companion and `explr sync`, of `explr verify`, and MLflow's own in a block."""
    from mlflow import MlflowClient

    if host == "[::1]" and not os.path.exists("/proc/net/if_inet6"):
        pytest.skip("this machine has no IPv6")
    with witness(HOST) as (proxy, proxied), witness(host) as (uri, seen):
        for name in PROXIES:
            monkeypatch.setenv(name, proxy)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.setenv(name, "corp.example")
        requests.get("http://elsewhere.example/", timeout=60)
        assert proxied == ["http://elsewhere.example/"]  # it is one
        asked = []

        def note() -> None:
            asked.append(len(seen))
            seen.clear()

        assert first_look(uri) == ""
        note()
        assert answers(uri, 60)
        note()
        with fluent_calls_to(uri, "0"):
            assert MlflowClient().search_experiments() == []
        note()
        monkeypatch.setattr(verify, "probe", as_in_its_process)
        verify._ask_server(uri, False)
        note()
        MLflowSink(uri).connect()
        note()
        assert asked == [1, 1, 1, 3, 1]
        assert proxied == ["http://elsewhere.example/"]
        assert requests.get("http://corp.example.invalid/", timeout=60).ok  # as before
        assert len(proxied) == 2


def as_in_its_process(module: str, uri: str, environment: dict[str, str]) -> None:
    """Run what `explr verify` has a process of its own for."""
    from explr.utils.verify.mlflow import look

    with pytest.MonkeyPatch.context() as patch:
        for name, text in environment.items():
            patch.setenv(name, text)
        for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
            patch.setenv(name, "1")  # it sets both for good
        look(uri)


@pytest.fixture
def lowered(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The priorities that a server on standby gives itself; it looks around all the time."""
    found: list[tuple[int, int]] = []
    monkeypatch.setattr(standby, "lower_priority", lambda *given: found.append(given))
    monkeypatch.setattr(standby, "POLL_S", 0.0)
    return found


def test_a_server_beside_busy_trainings_starts_when_somebody_connects(
    lowered: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
):
    with ExitStack() as opened, listen(0) as listener:
        looks = iter(range(6))

        def busy() -> bool:
            if next(looks) == 5:
                opened.enter_context(socket.create_connection(listener.getsockname()))
            return True

        monkeypatch.setattr(standby, "all_cores_are_busy", busy)
        standby.wait(listener.fileno())
    assert not list(looks)
    assert not lowered  # somebody waits for it


def test_a_server_starts_by_itself_when_a_core_is_idle(
    lowered: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
):
    # The first look tells of the time before it.
    looks = iter([False, True, True, False])
    monkeypatch.setattr(standby, "all_cores_are_busy", lambda: next(looks))
    with listen(0) as listener:
        standby.wait(listener.fileno())
    assert not list(looks)
    assert lowered == [(os.getpid(), LOWEST)]
