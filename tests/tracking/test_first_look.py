"""A store that cannot be used is told within seconds, in one line, while the training runs."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from explr.core.errors import LONGEST_REASON, TrackingError, one_line
from explr.tracking.mlflow.first_look import first_look
from explr.tracking.mlflow.sink import MLflowSink
from explr.tracking.mlflow.store import out_of_reach
from explr.tracking.shipping.sink import SinkUnavailable

LOGIN = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>%s</body></html>" % (
    "<p>Please sign in</p>" * 500
)

UNTIL_TOLD = """
(log,) = ctx.output_dir.glob("*.log")
for _ in range(2000):
    if "The training goes on" in log.read_text():
        return 1.0
    time.sleep(0.1)
return 2.0
"""
"""For the body of a training: it lasts until the line is in its log."""


class Answers(BaseHTTPRequestHandler):
    """Answers every request in the same way."""

    status = 200
    body = LOGIN
    seen: list[str | None]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.seen.append(self.headers.get("Authorization"))
        content = self.body.encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(status: int = 200, body: str = LOGIN) -> Iterator[tuple[str, list[str | None]]]:
    """A server that answers in one way; its address, and what requests said who they were."""
    seen: list[str | None] = []
    handler = type("Handler", (Answers,), {"status": status, "body": body, "seen": seen})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", seen
        finally:
            server.shutdown()


@contextmanager
def store_of(kind: str, port: int) -> Iterator[tuple[str, str]]:
    """A tracking URI of a store that cannot be used, and what is said of it."""
    if kind == "nobody":
        uri = f"http://127.0.0.1:{port}"
        yield uri, f"{uri} does not answer: connection refused"
    elif kind == "folder":
        yield "./mlruns", "/mlruns: set tracking.uri=sqlite:///mlflow.db"
    else:
        with serving() as (uri, _):
            yield uri, f"{uri} answers with a web page, not as MLflow does: a login page?"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["nobody", "login", "folder"])
def test_it_is_told_while_the_training_runs_and_again_at_the_end(
    kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: int, kind: str
) -> None:
    train = kit.write_training(tmp_path / "job.py", UNTIL_TOLD)
    with store_of(kind, port) as (uri, said):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        done = kit.explr(train, "tracking.drain_timeout_s=0")
        assert done.returncode == 0, done.stderr
        lines = [line for line in (done.stdout + done.stderr).splitlines() if said in line]
        assert len(lines) == 2, done.stdout + done.stderr
        assert "objective" not in done.stdout or " 1.0" in done.stdout  # told while it ran
        assert lines[-1].startswith("Not uploaded: ")
        assert max(map(len, lines)) <= LONGEST_REASON
        assert "<html" not in (done.stdout + done.stderr).lower()

        synced = kit.explr("sync")
        assert synced.returncode == 1
        first, *later = synced.stderr.splitlines()
        assert said in first
        assert len(later) == 1
        assert said.rpartition("/")[2] in later[0]
        assert "journal-" in later[0]
        assert max(map(len, (first, *later))) <= LONGEST_REASON


def test_a_first_look_needs_no_mlflow(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from explr.tracking.shipping.sinks import sink_for\n"
        "print([sink_for(uri).look() != '' for uri in sys.argv[1:]])\n"
        "assert 'mlflow' not in sys.modules\n"
    )
    with serving() as (uri, _):
        uris = (uri, "http://127.0.0.1:9", "file:///tmp/mlruns", "sqlite:////tmp/a.db")
        done = subprocess.run(
            [sys.executable, "-c", program, *uris], capture_output=True, text=True, check=False
        )
    assert (done.stdout, done.stderr) == ("[True, True, True, False]\n", "")


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, '{"experiments": []}'), (200, ""), (401, LOGIN), (500, LOGIN), (404, "no")],
)
def test_in_doubt_it_says_nothing(status: int, body: str) -> None:
    with serving(status, body) as (uri, _):
        assert first_look(uri) == ""


@pytest.mark.parametrize(
    ("user", "variables", "header"),
    [
        ("", {}, None),
        ("me:ses%40me@", {}, "Basic bWU6c2VzQG1l"),
        ("", {"USERNAME": "me", "PASSWORD": "ses@me"}, "Basic bWU6c2VzQG1l"),
        ("", {"TOKEN": "abc"}, "Bearer abc"),
    ],
)
def test_it_says_who_it_is(
    monkeypatch: pytest.MonkeyPatch, user: str, variables: dict[str, str], header: str | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
    with serving() as (uri, seen):
        said = first_look(uri.replace("//", f"//{user}"))
    assert seen == [header]
    assert "ses" not in said


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("postgresql://me:sesame@127.0.0.1:9/mlflow", "does not answer: connection refused"),
        ("http://nobody.invalid:5000", "http://nobody.invalid:5000 does not answer: "),
        ("http://127.0.0.1:9/" + "x" * 500, "does not answer: connection refused"),
        ("http://127.0.0.1:port", ""),
        ("databricks://me", ""),
    ],
)
def test_addresses(monkeypatch: pytest.MonkeyPatch, uri: str, said: str) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    found = first_look(uri)
    assert said in found
    assert (found == "") is (said == "")
    assert "sesame" not in found
    assert len(found) <= 140


def test_a_folder_may_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "file:///tmp/mlruns" in first_look("file:///tmp/mlruns")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    assert first_look("file:///tmp/mlruns") == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "said"),
    [(200, "a login page?"), (502, "too many 502 error responses"), (401, "error code 401")],
)
def test_no_reason_holds_a_web_page(home: Path, status: int, said: str) -> None:
    with serving(status) as (uri, _), pytest.raises(SinkUnavailable) as raised:
        MLflowSink(uri).connect()
    assert said in str(raised.value)
    assert "<" not in str(raised.value)
    assert len(str(raised.value)) <= LONGEST_REASON


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "TrackingError"),
        ("\n\n  one \n two", "one"),
        ("it failed. Response body: '\n<HTML><p>x", "it failed (the answer is a web page)"),
        ("<!doctype html>\n<title>Sign in</title>", "(the answer is a web page)"),
        ("a < b", "a < b"),
        ("x" * 999, "x" * 199 + "…"),
    ],
)
def test_a_reason_is_one_line(text: str, line: str) -> None:
    assert one_line(TrackingError(text)).strip() == line


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ("0123456789ab", "was written by a newer MLflow than .*: pip install --upgrade mlflow; "),
        ("0584bdc529eb", "was written by an older MLflow than .*: run `mlflow db upgrade sqlite:"),
    ],
)
def test_a_database_of_another_version_of_mlflow(found: str, said: str) -> None:
    error = Exception(
        f"Detected out-of-date database schema (found version {found}, but expected 89d4b8295536). "
        "Take a backup of your database, then run 'mlflow db upgrade <database_uri>'"
    )
    told = out_of_reach("sqlite:////home/me/mlflow.db", error)
    assert re.search(said, told)
    assert told.endswith("until then runs wait in their journals")
