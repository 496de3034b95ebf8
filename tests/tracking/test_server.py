import asyncio
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, MutableMapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from waiting import wait_until
from zygote import zygote

from explr.core.errors import TrackingError
from explr.tracking.destination import Destination
from explr.tracking.home import artifact_root, autostart_allowed, local_store_uri
from explr.tracking.mlflow.serving.gate import (
    Gate,
    credentials,
    login,
    make_password,
    password_file,
)
from explr.tracking.mlflow.serving.server_process import (
    HOST,
    ServerRecord,
    ServerState,
    listen,
)
from explr.tracking.run import open_run
from explr.tracking.server import MLflowServer
from explr.utils.environment import past_proxies
from explr.utils.processes import identity_of
from explr.utils.verify.check import probe
from explr.utils.verify.mlflow import server_checks

PATIENCE_S = 240.0

# What a run does in its own process: the store is used directly, past any server.
CLIENT = """
import pathlib, sys
from mlflow import MlflowClient
uri, artifacts, file = sys.argv[1:]
client = MlflowClient(tracking_uri=uri)
experiment = client.create_experiment("digits", artifact_location=pathlib.Path(artifacts).as_uri())
run = client.create_run(experiment).info.run_id
client.log_metric(run, "loss", 0.5, step=1)
client.log_artifact(run, file, "notes")
print(experiment, run)
"""
STARTER = """
from explr.tracking.server import MLflowServer
state = MLflowServer(port=0).start()
print(state.pid, state.port)
"""


def fetch(
    url: str, body: bytes | None = None, host: str | None = None, login: str | None = None
) -> tuple[int, str]:
    headers = {"Content-Type": "application/json"}
    headers |= ({"Host": host} if host else {}) | ({"Authorization": login} if login else {})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, data=body, headers=headers)
    try:
        with opener.open(request, timeout=PATIENCE_S) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def leaders_below(home: Path) -> list[int]:
    """The pids of all MLflow servers whose store lies in `home`, whoever started them.

    Each leads a session: what one forks has, until it is another program, its command line too.
    """
    found = []
    for process in psutil.process_iter():
        try:
            leads, command = os.getsid(process.pid) == process.pid, process.cmdline()
        except (psutil.Error, ProcessLookupError):
            continue
        if leads and "mlflow" in command and any(str(home) in word for word in command):
            found.append(process.pid)
    return found


def session(state: ServerState) -> list[int]:
    """The pids of all processes in a server's session that run."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == state.pid and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (psutil.Error, ProcessLookupError):
            continue
    return found


def is_uvicorn(pid: int) -> bool:
    try:
        return "uvicorn" in psutil.Process(pid).cmdline()
    except psutil.Error:
        return False


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("EXPLR_HOME", str(tmp_path))
    yield tmp_path
    MLflowServer(home=tmp_path).stop()


@dataclass
class Started:
    """A server that runs, and what a client wrote to its store without it."""

    server: MLflowServer
    state: ServerState
    home: Path
    taken_port: int
    experiment: str
    run: str


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory, template: Path) -> Iterator[Started]:
    home = tmp_path_factory.mktemp("a #1 home, 50% ünlike others ")
    shutil.copyfile(template, home / "mlflow.db")
    note = tmp_path_factory.mktemp("user") / "hello.txt"
    note.write_text("hello")
    done = subprocess.run(
        [
            *(sys.executable, "-c", CLIENT, local_store_uri(home)),
            *(str(artifact_root(home) / "digits"), str(note)),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    experiment, run = done.stdout.split()
    with listen(0) as stranger, pytest.MonkeyPatch.context() as patch:
        dead = "http://127.0.0.1:9"
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            patch.setenv(name, dead)
        # A user's settings for other servers, which would break or open this one.
        patch.setenv("MLFLOW_TRACKING_URI", dead)
        patch.setenv("MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE", "true")
        patch.setenv("MLFLOW_STATIC_PREFIX", "/elsewhere")
        patch.setenv("MLFLOW_GUNICORN_OPTS", "--nonsense")
        patch.setenv("UVICORN_ROOT_PATH", "/elsewhere")
        taken_port = stranger.getsockname()[1]
        server = MLflowServer(port=taken_port, home=home)
        try:
            state = server.start(awaited=True)
            assert server.wait_until_ready(PATIENCE_S)  # with the proxies set
            yield Started(server, state, home, taken_port, experiment, run)
        finally:
            server.stop()


@pytest.mark.slow
class TestRunningServer:
    def test_takes_another_port_where_the_wanted_one_is_taken(self, started: Started):
        assert started.state.port != started.taken_port
        assert started.state.url == f"http://127.0.0.1:{started.state.port}"

    def test_is_not_started_twice(self, started: Started):
        assert started.server.start() == started.state
        assert MLflowServer(home=started.home).start() == started.state
        assert MLflowServer(local_store_uri(started.home), home=started.home).start() == (
            started.state
        )
        assert leaders_below(started.home) == [started.state.pid]

    def test_is_ready_for_any_process(self, started: Started):
        assert MLflowServer(home=started.home).state() == started.state
        assert MLflowServer(home=started.home).wait_until_ready(PATIENCE_S)

    def test_another_store_is_not_served_by_it(self, started: Started):
        other = MLflowServer(f"sqlite:///{started.home}/other.db", home=started.home)
        assert other.state() is None
        assert not other.stop()
        assert started.server.state() == started.state

    def test_shows_what_a_client_wrote_past_it(self, started: Started):
        status, text = fetch(
            f"{started.state.url}/ajax-api/2.0/mlflow/runs/get?run_id={started.run}"
        )
        assert status == 200
        assert json.loads(text)["run"]["data"]["metrics"][0]["value"] == 0.5

    def test_serves_the_artifacts_of_a_run(self, started: Started):
        url, run = started.state.url, started.run
        _, text = fetch(f"{url}/ajax-api/2.0/mlflow/artifacts/list?run_id={run}&path=notes")
        assert [file["path"] for file in json.loads(text)["files"]] == ["notes/hello.txt"]
        assert fetch(f"{url}/get-artifact?path=notes/hello.txt&run_uuid={run}") == (200, "hello")

    def test_gives_new_experiments_a_place_in_the_home(self, started: Started):
        url = f"{started.state.url}/api/2.0/mlflow/experiments"
        _, text = fetch(f"{url}/create", body=b'{"name": "made in the browser"}')
        created = json.loads(text)["experiment_id"]
        _, text = fetch(f"{url}/get?experiment_id={created}")
        location = json.loads(text)["experiment"]["artifact_location"]
        assert location == f"{artifact_root(started.home).as_uri()}/{created}"

    def test_takes_no_files_from_others(self, started: Started):
        url = f"{started.state.url}/api/2.0/mlflow-artifacts/artifacts?path="
        assert fetch(url)[0] == 503

    @pytest.mark.parametrize("host", ["evil.example", "10.9.8.7.evil.example", "localhost:1"])
    def test_refuses_a_foreign_host(self, started: Started, host: str):
        url = f"{started.state.url}/api/2.0/mlflow/experiments/search?max_results=1"
        assert fetch(url, host=host)[0] == 403
        assert fetch(url, host=f"localhost:{started.state.port}")[0] == 200

    def test_keeps_everybody_from_the_assistant(self, started: Started):
        url = f"{started.state.url}/ajax-api/3.0/mlflow/assistant"
        assert fetch(f"{url}/config")[0] == 403
        assert fetch(f"{url}/message", body=b'{"message": "hi", "context": {}}')[0] == 403

    def test_serves_its_page(self, started: Started):
        status, text = fetch(started.state.url)
        assert status == 200
        assert "MLflow" in text

    def test_listens_on_loopback_alone(self, started: Started):
        addresses = {
            connection.laddr
            for pid in session(started.state)
            for connection in psutil.Process(pid).net_connections()
            if connection.status == psutil.CONN_LISTEN
        }
        assert addresses == {("127.0.0.1", started.state.port)}

    def test_is_one_worker_without_job_runners(self, started: Started):
        first, second = sorted(session(started.state), key=is_uvicorn)
        assert first == started.state.pid
        assert is_uvicorn(second)

    def test_keeps_its_files_from_others(self, started: Started):
        record = json.loads((started.home / "server.json").read_text())
        assert record["session"] == record["pid"] == started.state.pid
        assert record["started"] == identity_of(started.state.pid).started
        for name in ("server.json", "server.log", "server.lock"):
            assert stat.S_IMODE((started.home / name).stat().st_mode) == 0o600

    def test_sends_no_telemetry(self, started: Started):
        _, text = fetch(f"{started.state.url}/ajax-api/3.0/mlflow/ui-telemetry")
        assert json.loads(text)["disable_ui_telemetry"] is True


@pytest.mark.slow
def test_eight_starters_leave_one_server(home: Path):
    (home / "starter.py").write_text(STARTER)
    command = [sys.executable, str(home / "starter.py")]
    with (home / "said").open("w") as said:  # by each at the end, as of a log
        files = (said.fileno(), said.fileno())
        starters = [zygote.start(command, home, os.environ, *files) for _ in range(8)]
        assert [starter.wait(PATIENCE_S) for starter in starters] == [0] * 8
    lines = (home / "said").read_text().splitlines()
    server = MLflowServer()
    state = server.state()
    assert state is not None
    assert lines == [f"{state.pid} {state.port}"] * 8
    assert leaders_below(home) == [state.pid]
    with closing(socket.create_connection((HOST, state.port))):  # busy cores or not
        wait_until(lambda: psutil.Process(state.pid).cmdline()[2:5] == ["-m", "mlflow", "server"])
    assert leaders_below(home) == [state.pid]
    assert server.stop()  # long before it has come up
    assert leaders_below(home) == []
    assert not server.stop()
    assert server.state() is None


@pytest.mark.slow
@pytest.mark.mlflow_versions
def test_what_the_command_started_asks_for_the_password_and_ends_also_without_its_first_process(
    home: Path, template: Path
):
    shutil.copyfile(template, home / "mlflow.db")
    variables = {**os.environ, "MLFLOW_TRACKING_URI": ""}
    with listen(0) as stranger:
        taken = stranger.getsockname()[1]
        command = [sys.executable, "-m", "explr", "mlflow-ui", "--protect", "--port", str(taken)]
        started = zygote.run(command, home, variables, PATIENCE_S)
    assert started.returncode == 0, started.stderr
    server = MLflowServer(port=0)
    state = server.state()
    assert state is not None
    assert started.stdout == f"{state.url}\n"
    assert f"The server uses port {state.port} instead of {taken}\n" in started.stderr

    password = password_file(home)
    assert f"User explr, password in {password}\n" in started.stderr
    search = f"{state.url}/api/2.0/mlflow/experiments/search?max_results=1"
    for url in (state.url, search, f"{state.url}/health", f"{state.url}/ajax-api/3.0/mlflow/x"):
        assert fetch(url)[0] == fetch(url, login="Basic ZXhwbHI6d3Jvbmc=")[0] == 401
    assert fetch(state.url, login=login(password))[0] == 200
    assert fetch(search, login=login(password))[0] == 200
    variables = {**os.environ, **past_proxies(os.environ), **credentials(home)}
    probed = probe("explr.utils.verify.mlflow", state.url, environment=variables)
    assert {check.status for check in server_checks(probed, state.url)} == {"pass"}
    secret = password.read_text().strip()
    assert secret not in started.stdout + started.stderr + (home / "server.log").read_text()
    assert not [pid for pid in session(state) if secret in " ".join(psutil.Process(pid).cmdline())]

    os.kill(state.pid, signal.SIGKILL)
    wait_until(lambda: state.pid not in session(state), PATIENCE_S)
    assert session(state) != []
    assert server.start(awaited=True) == state  # what is left still serves
    assert server.wait_until_ready(PATIENCE_S)
    assert server.stop()
    assert session(state) == []
    assert not (home / "server.json").exists()
    with closing(listen(state.port)) as free:
        assert free.getsockname()[1] == state.port


@pytest.mark.slow
def test_a_server_that_ends_is_not_waited_for(home: Path):
    store = home / "mlflow.db"
    store.write_text("this is no database, whatever its name says" * 100)
    server = MLflowServer(port=0)
    server.start(awaited=True)
    with pytest.raises(TrackingError, match="not running") as caught:
        server.wait_until_ready(PATIENCE_S)
    assert str(home / "server.log") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not server.stop()


@pytest.mark.slow
def test_a_stranger_with_the_recorded_pid_is_neither_used_nor_ended(home: Path):
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as stranger:
        try:
            state = ServerState("http://127.0.0.1:1", 1, stranger.pid, local_store_uri())
            started = identity_of().started
            ServerRecord(state, started, mark="0" * 32).write(home / "server.json")
            server = MLflowServer(port=0)
            assert server.state() is None
            assert not server.stop()
            assert not (home / "server.json").exists()

            ServerRecord(state, started, mark="0" * 32).write(home / "server.json")
            assert server.start().pid != stranger.pid
            assert server.stop()
            assert stranger.poll() is None
        finally:
            stranger.kill()


@pytest.mark.slow
def test_a_server_is_started_anew_if_a_password_is_made_or_removed(home: Path):
    server = MLflowServer(port=0)
    open_one = server.start()
    password = make_password(home)
    assert stat.S_IMODE(password.stat().st_mode) == 0o600
    protected = server.start()
    assert (open_one.protected, protected.protected) == (False, True)
    assert session(open_one) == []
    known = login(password)
    assert make_password(home) == password  # and leaves it as it is
    assert login(password) == known
    assert server.start() == server.state() == protected
    password.unlink()
    assert not server.start().protected
    assert session(protected) == []


def answer_of(gate: Gate, kind: str, path: str, header: str | None) -> int | str:
    """What a gate answers to a request: a status, 200 of the app behind it, or what it sent."""
    sent: list[MutableMapping[str, Any]] = []

    async def passed(scope: Any, receive: Any, send: Any) -> None:
        await send({"status": 200})

    async def receive() -> dict[str, Any]:
        raise AssertionError

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    headers = [] if header is None else [(b"authorization", header.encode())]
    gate._app = passed
    asyncio.run(gate({"type": kind, "path": path, "headers": headers}, receive, send))
    return int(sent[0].get("status", 0)) or str(sent[0]["type"])


def test_the_gate_lets_in_who_knows_the_password(tmp_path: Path):
    path = make_password(tmp_path)
    gate, right = Gate(None, path), login(path)  # type: ignore[arg-type]
    assert right is not None
    for header in (
        None,
        "",
        "Basic",
        "Basic e",
        right[:-1],
        f"{right} ",
        right.lower(),
        "Bearer é",
    ):
        assert answer_of(gate, "http", "/", header) == 401
        assert answer_of(gate, "websocket", "/", header) == "websocket.close"
    for kind in ("http", "websocket"):
        assert answer_of(gate, kind, "/ajax-api/3.0/mlflow/assistant/config", right) == 200
    assert answer_of(gate, "lifespan", "", None) == 200
    path.write_text("another\n")
    assert answer_of(gate, "http", "/", right) == 401
    assert answer_of(gate, "http", "/", login(path)) == 200
    for content in (b"", b"\n", None):  # nobody, not everybody
        path.write_bytes(content) if content is not None else path.unlink()
        for header in (None, right, "Basic ZXhwbHI6"):
            assert answer_of(gate, "http", "/", header) == 401


def test_a_gate_without_a_password_is_closed_for_the_assistant_alone():
    gate = Gate(None, None)  # type: ignore[arg-type]
    assert answer_of(gate, "http", "/api/2.0/mlflow/experiments/search", None) == 200
    assert answer_of(gate, "http", "/api/3.0/mlflow/assistant/message", None) == 403


def test_a_run_makes_the_password_that_its_setting_asks_for(
    home: Path, monkeypatch: pytest.MonkeyPatch
):
    asked: list[str] = []
    monkeypatch.setattr("explr.tracking.run.ensure_companion", lambda uri, **_: asked.append(uri))
    for uri, protect in ((None, False), ("http://127.0.0.1:9", True), (None, True)):
        folder = home / f"run{len(asked)}"
        folder.mkdir()
        assert not password_file(home).exists()
        run = open_run(
            folder, Destination(uri, protect=protect), experiment="e", name="n", params={}, tags={}
        )
        run.keep_shipping()
        run.close("FINISHED")
    assert password_file(home).exists()
    assert len(asked) >= 3


def test_a_remote_server_gets_no_password(home: Path):
    uri = "http://me:topsecret@mlflow.example.org"
    variables = {**os.environ, "MLFLOW_TRACKING_URI": uri}
    command = [sys.executable, "-m", "explr", "mlflow-ui"]
    shown = zygote.run(command, home, variables, PATIENCE_S)
    assert shown.stdout == "http://mlflow.example.org (from MLFLOW_TRACKING_URI)\n"
    refused = zygote.run([*command, "--protect"], home, variables, PATIENCE_S)
    assert refused.returncode == 2
    assert refused.stderr.startswith("--protect is for the server of the local store")
    assert "topsecret" not in refused.stderr
    both = zygote.run([*command, "--protect", "--stop"], home, variables, PATIENCE_S)
    assert (both.returncode, "give either --stop or --protect" in both.stderr) == (2, True)
    assert not password_file(home).exists()


def test_without_a_server_there_is_nothing(home: Path):
    server = MLflowServer()
    assert server.state() is None
    assert not server.stop()
    with pytest.raises(TrackingError, match="never started"):
        server.wait_until_ready(0.1)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"pid": 1}', '{"pid": "x"}', "\x00"])
def test_a_broken_record_is_no_server(home: Path, content: str):
    (home / "server.json").write_text(content)
    assert MLflowServer().state() is None
    assert not MLflowServer().stop()
    assert not (home / "server.json").exists()


def test_a_remote_server_is_not_started(home: Path):
    with pytest.raises(TrackingError) as caught:
        MLflowServer("https://me:secret@mlflow.example.org/team?token=secret")
    assert str(caught.value) == (
        "https://mlflow.example.org/team is a remote tracking server: explr starts none"
    )


@pytest.mark.parametrize("uri", ["postgresql://me:secret@db/mlflow", "./mlruns", "sqlite://"])
def test_other_stores_are_not_served(home: Path, uri: str):
    with pytest.raises(TrackingError, match="SQLite store only") as caught:
        MLflowServer(uri)
    assert "secret" not in str(caught.value)


def test_a_store_named_relative_to_here_stays_where_it_is(
    home: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(home)
    assert MLflowServer("sqlite:///mlflow.db").log_path == home / "server.log"
    assert MLflowServer("sqlite:///other.db").log_path != home / "server.log"


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_is_a_port(home: Path, port: int):
    with pytest.raises(ValueError, match="between 0 and 65535"):
        MLflowServer(port=port)


@pytest.mark.parametrize(
    ("flag", "variable", "allowed"),
    [
        (True, None, True),
        (True, "", True),
        (True, "1", True),
        (True, "0", False),
        (True, "false", False),
        (True, " False ", False),
        (True, "NO", False),
        (False, None, False),
        (False, "1", False),
    ],
)
def test_autostart(
    flag: bool, variable: str | None, allowed: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("EXPLR_AUTOSTART", raising=False)
    if variable is not None:
        monkeypatch.setenv("EXPLR_AUTOSTART", variable)
    assert autostart_allowed(flag) is allowed
