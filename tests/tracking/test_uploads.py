"""Uploads of files to MLflow: names, refusals and time-outs, with a real server behind a proxy."""

from __future__ import annotations

import http.client
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from remote_server import Server, begun

from explr.runner.cli.sync import sync_journals
from explr.tracking.journal.pending import entries
from explr.tracking.mlflow.contents import _listed
from explr.tracking.mlflow.failures import refusal
from explr.tracking.mlflow.names import legal_file
from explr.tracking.mlflow.serving.server_process import answers
from explr.tracking.mlflow.timeouts import (
    LONGEST_S,
    SHORT_S,
    SLOW_LINE,
    VARIABLE,
    Patience,
    upload_limit_s,
)
from explr.tracking.run import closing_line
from explr.tracking.shipping.run_upload import MISSING_TAG
from explr.tracking.shipping.sink import SinkSlow

# What an error says about a file


def answer(status: int, content: bytes = b"") -> Exception:
    """What MLflow's client raises for an answer to an upload."""
    from mlflow.utils.request_utils import augmented_raise_for_status
    from requests import HTTPError, Response

    response = Response()
    response.status_code, response._content, response.reason = status, content, "Reason"
    with pytest.raises(HTTPError) as caught:
        augmented_raise_for_status(response)
    return caught.value


def of_mlflow(code: str) -> Exception:
    from mlflow.exceptions import RestException

    return RestException({"error_code": code, "message": "no"})


def before_mlflow(status: int) -> Exception:
    """What MLflow's client raises if a proxy answers a request about the run."""
    from mlflow.exceptions import MlflowException
    from mlflow.utils.rest_utils import verify_rest_response
    from requests import Response

    response = Response()
    response.status_code, response._content = status, b"<html>sorry</html>"
    with pytest.raises(MlflowException) as caught:
        verify_rest_response(response, "/api/2.0/mlflow/runs/get")
    return caught.value


def of_s3(code: str, status: int) -> Exception:
    """What boto3 raises from an upload."""
    botocore = pytest.importorskip("botocore.exceptions")
    boto3 = pytest.importorskip("boto3.exceptions")
    fault = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    try:
        try:
            raise botocore.ClientError(fault, "PutObject")
        except botocore.ClientError as error:
            raise boto3.S3UploadFailedError(f"Failed to upload: {error}")  # noqa: B904 - as boto3 does
    except boto3.S3UploadFailedError as error:
        return error  # type: ignore[no-any-return]


def test_what_holds_for_one_file_is_told_apart_from_what_holds_for_now() -> None:
    for_good = [
        *map(answer, (404, 413, 414, 415, 422, 451)),
        answer(400, b'{"error_code": "INVALID_PARAMETER_VALUE", "message": "Invalid path"}'),
        of_mlflow("INVALID_PARAMETER_VALUE"),
        of_mlflow("RESOURCE_DOES_NOT_EXIST"),
        of_s3("EntityTooLarge", 400),
        OSError(36, "File name too long"),
        UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed"),
    ]
    for_all = [
        answer(403),
        answer(400, b"<html>"),
        of_mlflow("PERMISSION_DENIED"),
        of_s3("AccessDenied", 403),
        of_s3("NoSuchBucket", 404),
        of_s3("ExpiredToken", 400),
    ]
    for_now = [
        *map(answer, (401, 408, 429, 500, 502, 503, 504, 507)),
        *map(before_mlflow, (404, 413, 200)),
        of_mlflow("UNAUTHENTICATED"),
        of_mlflow("INTERNAL_ERROR"),
        of_mlflow("REQUEST_LIMIT_EXCEEDED"),
        of_s3("SlowDown", 503),
        OSError(28, "No space left on device"),
        ConnectionRefusedError(111, "Connection refused"),
        ValueError("anything else"),
    ]
    found = [[refusal(error) for error in errors] for errors in (for_good, for_all, for_now)]
    assert [error and error.certain for error in found[0]] == [True] * len(for_good)
    assert [error and error.certain for error in found[1]] == [False] * len(for_all)
    assert found[2] == [None] * len(for_now)
    assert str(refusal(answer(413, b"<html>\n" * 500))) == "413 Reason"


@pytest.mark.parametrize("refusals", [1, 2, 9])
def test_a_store_that_lists_nothing_is_believed_when_it_says_so_again(refusals: int) -> None:
    errors = [answer(404)] * refusals

    class Client:
        def list_artifacts(self, run_id: str, folder: str | None) -> list[Any]:
            if errors:
                raise errors.pop()
            return [SimpleNamespace(path="texts/a.txt")]

    client: Any = Client()
    found = _listed(client, "run", {"texts/a.txt", "texts/b.txt"})
    assert found == ({"texts/a.txt"} if refusals < 3 else {"texts/a.txt", "texts/b.txt"})


# How long a request may take


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], Callable[..., int]]:
    """Makes the environment, and a call that tells the time-out that it was given."""

    def prepare(set_by_user: str | None) -> Callable[..., int]:
        monkeypatch.delenv(VARIABLE, raising=False)
        if set_by_user is not None:
            monkeypatch.setenv(VARIABLE, set_by_user)
        patience = Patience()

        def call(error: Exception | None = None) -> int:
            from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_TIMEOUT as LIMIT

            with patience.limited():
                limit = LIMIT.get()  # as MLflow reads it for each request
                if error is not None:
                    try:
                        raise error
                    except Exception as cause:
                        raise RuntimeError("MLflow's own") from cause
            assert os.environ.get(VARIABLE) == set_by_user
            return int(limit)

        return call

    return prepare


def test_a_slow_server_gets_more_time_up_to_a_limit(limits: Any) -> None:
    from requests.exceptions import ConnectTimeout, ReadTimeout

    call = limits(None)
    assert call() == SHORT_S
    for waited in (10, 20, 40, 80):
        with pytest.raises(SinkSlow, match=f"no answer within {waited} s"):
            call(ReadTimeout())
    with pytest.raises(RuntimeError):  # that is the longest
        call(ReadTimeout())
    assert call() == LONGEST_S
    assert call() == SHORT_S  # it has answered quickly
    with pytest.raises(RuntimeError):  # a server that is gone is not slow
        call(ConnectTimeout())
    assert call() == SHORT_S


@pytest.mark.parametrize("given", [30, 300])
def test_the_users_time_out_is_the_shortest(limits: Any, given: int) -> None:
    from requests.exceptions import ReadTimeout

    call = limits(str(given))
    assert call() == given
    with pytest.raises(SinkSlow if given < LONGEST_S else RuntimeError):
        call(ReadTimeout())
    assert call() == max(given, min(2 * given, LONGEST_S))
    assert upload_limit_s(0) == max(given, LONGEST_S)
    assert upload_limit_s(5000 * SLOW_LINE) == 5000


# A real server behind a proxy

Rule = Callable[[str, str, int], int | float | None]


class Proxy:
    """Passes requests on to a server, unless its rule has another answer for them.

    The rule gets method, path and size of a request. A whole number is the status to answer with,
    before the body was read, as nginx does; any other number how many seconds the answer takes.
    """

    def __init__(self, port: int) -> None:
        self.rule: Rule = lambda method, path, size: None
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def handle_any(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                fault = proxy.rule(self.command, self.path, size)
                status, headers, content = fault, [("Connection", "close")], b"<html>no</html>"
                if not isinstance(fault, int):
                    with closing(http.client.HTTPConnection("127.0.0.1", port)) as there:
                        body = self.rfile.read(size)
                        there.request(self.command, self.path, body, dict(self.headers))
                        answer = there.getresponse()
                        status, content = answer.status, answer.read()
                    headers = [("Content-Type", answer.getheader("Content-Type") or "text/plain")]
                    time.sleep(fault or 0.0)
                with suppress(OSError):  # nobody waits for the answer any more
                    self.send_response(status)
                    for header in (*headers, ("Content-Length", str(len(content)))):
                        self.send_header(*header)
                    self.end_headers()
                    self.wfile.write(content)

            do_GET = do_PUT = do_POST = do_PATCH = handle_any

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.uri = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, template: Path) -> Iterator[Server]:
    with begun(tmp_path_factory.mktemp("uploads"), template) as server:
        yield server


@pytest.fixture
def proxy(server: Server, kit: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    kit.eventually(lambda: answers(server.uri, 5.0), "the server")
    with closing(Proxy(server.port)) as proxy:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.uri)
        yield proxy


ODD_NAMES = (
    *("a#b.txt", "a%20b.txt", "%2e%2e", "a?b.txt", "A:b.txt", "file:x", "a\\b.txt", " a.txt"),
    *("a.txt ", "a\tb\nc.txt", "a\udcffb.txt", "..a", "...", ".artifact.uploading.x", "é😀.txt"),
    *("x" * 255, "a;b=[1],{2}+~&@!$'.txt"),
)


@pytest.mark.slow
@pytest.mark.parametrize("remote", [True, False])
def test_files_with_odd_names_arrive_and_can_be_listed(
    remote: bool, request: pytest.FixtureRequest, kit: Any, tmp_path: Path
) -> None:
    where = request.getfixturevalue("proxy" if remote else "store")
    run = kit.begin(tmp_path / "run", where.uri, experiment=f"odd names {remote}")
    inside = {tmp_path / "out#": ODD_NAMES[:3], tmp_path / "run" / "saved": ODD_NAMES[3:6]}
    for folder, names in inside.items():
        folder.mkdir()
        for name in names:
            (folder / name).write_text("123")
    for name in ODD_NAMES:
        run.tracker.log_text("1", name)
    run.tracker.log_artifact(tmp_path / "out#")
    run.journal.append("artifact", f="saved", d="")  # which is not copied
    run.register("digits", tmp_path / "run" / "saved", "with odd names")
    run.close("FINISHED")
    kit.ship(where.uri)
    assert entries() == []
    store = kit.store_at(where.uri)
    (found,) = [r for r in store.runs() if r.data.tags.get("explr.run") == run.journal.uid]
    assert found.data.tags.get(MISSING_TAG) is None
    wanted = {legal_file(name): 1 for name in ODD_NAMES}
    wanted |= {legal_file(f"out#/{name}"): 3 for name in ODD_NAMES[:3]}
    for top in ("saved", "model"):
        wanted |= {legal_file(f"{top}/{name}"): 3 for name in ODD_NAMES[3:6]}
    assert store.artifacts(found) == wanted


@pytest.mark.slow
def test_refusals_and_slow_answers_hold_up_nothing(
    proxy: Proxy, kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "2")
    seen: dict[str, int] = {}

    def rule(method: str, path: str, size: int) -> int | float | None:
        seen[path] = seen.get(path, 0) + 1
        if method == "PUT":
            if path.endswith("hidden.txt"):
                return 404
            if path.endswith("denied.txt"):
                return 403
            if path.endswith("again.txt") and seen[path] < 3:
                return 500
            return 413 if size > 1_000_000 else None
        return 5.0 if "log-batch" in path and seen[path] < 4 else None  # and 2 s are given

    proxy.rule = rule
    run = kit.begin(tmp_path / "run", proxy.uri, experiment="refused", params={"lr": 0.1})
    for name in ("again.txt", "hidden.txt", "a.txt", "denied.txt", "z.txt"):
        run.tracker.log_text("1", name)
    run.tracker.log_text("1" * 3_000_000, "big.txt")
    for step in range(100):
        run.tracker.log_metric("loss", step, step)
    run.close("FINISHED")
    kit.eventually(lambda: kit.ship(proxy.uri) or not entries(), "the upload")
    proxy.rule = lambda method, path, size: None
    store = kit.store_at(proxy.uri)
    (found,) = [r for r in store.runs() if r.data.tags.get("explr.run") == run.journal.uid]
    assert set(store.artifacts(found)) == {"again.txt", "a.txt", "z.txt"}
    assert store.rows(found, "loss") == [(step, step) for step in range(100)]
    assert found.info.status == "FINISHED"
    named = found.data.tags[MISSING_TAG]
    assert named.startswith("3 artifacts are missing: ")
    assert closing_line(run).endswith(f"; {named}")
    for text in ("big.txt (413 ", "hidden.txt (404 ", "denied.txt (403 "):
        assert text in named
    assert sync_journals(tmp_path) == 0
    names = {"again.txt", "a.txt", "z.txt", "big.txt", "hidden.txt", "denied.txt"}
    assert set(store.artifacts(found)) == names
