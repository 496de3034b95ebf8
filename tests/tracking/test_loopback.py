import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from explr.tracking.mlflow.serving import standby
from explr.tracking.mlflow.serving.server_process import HOST, answers, listen, past_proxies
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


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "127.0.0.1,localhost"),
        ("", "127.0.0.1,localhost"),
        ("corp.example, localhost", "corp.example,localhost,127.0.0.1"),
        ("*", "*"),
    ],
)
def test_loopback_is_added_to_what_goes_past_the_proxy(before: str | None, after: str):
    environment = {"HTTP_PROXY": "http://proxy:1"}
    if before is not None:
        environment["no_proxy"] = before
    result = past_proxies(environment)
    assert result["no_proxy"] == after
    assert result["NO_PROXY"] == "127.0.0.1,localhost"
    assert result["HTTP_PROXY"] == "http://proxy:1"


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
