"""A remote MLflow server that is slow, cut off, killed and brought back; what a kill leaves."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from ports import held_port

from explr.tracking.journal.journal import read_events
from explr.tracking.journal.pending import entries
from explr.tracking.mlflow.server_process import answers

pytestmark = pytest.mark.slow

TRAINING = """
while int(ctx.output_dir.name) >= 60 and not os.path.exists(os.environ["KILLED"]):
    time.sleep(0.05)
for step in range(10):
    ctx.tracker.log_metric("loss", ctx.hyperparameters["lr"] / (step + 1), step=step)
return ctx.hyperparameters["lr"]
"""
WRITER = """
import os, pathlib, sys
from explr.tracking.destination import Destination
from explr.tracking.run import open_run
folder, first = pathlib.Path(sys.argv[1]), int(sys.argv[2])
folder.mkdir(parents=True, exist_ok=True)
run = open_run(folder, Destination(companion=False), experiment="digits", name="killed",
               params={}, tags={}, resumes=True)
for step in range(max(first - 3, 0), first + 1000):  # from its last checkpoint, say
    run.tracker.log_metric("loss", step / 2, step=step)
os.kill(os.getpid(), 9)
"""
STARTERS = """
import os, sys
from explr.tracking.mlflow.store import connect, find_or_create_experiment
import mlflow.store.tracking.sqlalchemy_store
uri = sys.argv[1]
ready, go = os.pipe(), os.pipe()
for _ in range(8):
    if os.fork() == 0:
        code = 1
        try:
            client = connect(uri)
            os.write(ready[1], b"x")
            os.close(go[1])
            os.read(go[0], 1)  # until all are there
            name = find_or_create_experiment(client, "digits", uri)
            os.write(1, f"{name} ".encode())
            code = 0
        finally:
            os._exit(code)
for _ in range(8):
    assert os.read(ready[0], 1)
os.close(go[1])
sys.exit(any(os.wait()[1] for _ in range(8)))
"""


class Server:
    """A real MLflow server, which can be killed and brought back."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self.port = port
        self.uri = f"http://127.0.0.1:{port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--port", str(self.port)),
                *("--workers", "1", "--uvicorn-opts", "--loop asyncio --no-access-log"),
                *("--backend-store-uri", f"sqlite:///{self._folder}/remote.db"),
                *("--artifacts-destination", str(self._folder / "artifacts")),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        )

    def kill(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, template: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("remote")
    shutil.copyfile(template, folder / "remote.db")
    with held_port() as port:
        server = Server(folder, port)
        server.start()
        try:
            yield server
        finally:
            server.kill()


class Proxy:
    """Passes connections on to a server, and drops replies to the requests that `drops` picks."""

    def __init__(self, port: int, drops: Callable[[bytes], bool]) -> None:
        self._port = port
        self._drops = drops
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.uri = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._port)) as server:
            dropped = threading.Event()

            def back() -> None:
                with suppress(OSError):
                    while content := server.recv(65536):
                        if dropped.is_set():  # the server has done it, and nobody is told
                            break
                        client.sendall(content)
                    client.shutdown(socket.SHUT_RDWR)

            threading.Thread(target=back, daemon=True).start()
            with suppress(OSError):
                while content := client.recv(65536):
                    if self._drops(content):
                        dropped.set()
                    server.sendall(content)


def test_lost_replies_make_no_second_run_and_no_second_row(
    server: Server, kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "sesame")
    seen: dict[bytes, int] = {}
    strangers: list[bytes] = []

    def drops(request: bytes) -> bool:
        """The first two requests to each address that changes something lose their replies."""
        line = request.partition(b"\r\n")[0]
        if line.endswith(b" HTTP/1.1") and b"Authorization: Basic bWU6c2VzYW1l" not in request:
            strangers.append(line)
        changes = (b"runs/create", b"runs/log-batch", b"runs/update", b"experiments/create", b"PUT")
        if not any(word in line for word in changes):
            return False
        seen[line] = seen.get(line, 0) + 1
        return seen[line] <= 2

    kit.eventually(lambda: answers(server.uri, 5.0), "the server")
    proxy = Proxy(server.port, drops)
    try:
        run = kit.begin(tmp_path / "run", proxy.uri, experiment="lost", params={"lr": 0.1})
        for step in range(1500):
            run.tracker.log_metric("loss", step / 3, step=step)
        run.tracker.log_text("hello", "notes.txt")
        run.close("FINISHED")
        kit.eventually(lambda: kit.ship(proxy.uri) or not entries(), "all of it in MLflow")
    finally:
        proxy.close()
    assert sum(count > 2 for count in seen.values()) >= 3  # each was lost, and sent again
    assert strangers == []  # who ships says who it is
    remote = kit.store_at(server.uri)
    (found,) = [r for r in remote.runs() if r.data.tags.get("explr.run") == run.journal.uid]
    assert remote.rows(found, "loss") == [(step, step / 3) for step in range(1500)]
    assert found.info.status == "FINISHED"
    assert "notes.txt" in remote.artifacts(found)


def test_a_sweep_during_which_the_server_is_killed_twice_loses_nothing(
    server: Server, kit: Any, tmp_path: Path
) -> None:
    trials = 80
    kit.eventually(lambda: answers(server.uri, 5.0), "the server")
    remote = kit.store_at(server.uri)
    train = kit.write_training(tmp_path / "job.py", TRAINING)
    sweep = kit.start(
        *("-m", train, "tuner=optuna", "tuner/sampler=random", f"tuner.n_trials={trials}"),
        *("lr=interval(0.1,0.2)", "tuner.study_name=s", "tuner/pruner=none"),
        *("experiment_name=killed", "hydra.output_subdir=null", "tracking.drain_timeout_s=0"),
        environment={"MLFLOW_TRACKING_URI": server.uri, "KILLED": str(tmp_path / "killed")},
    )
    folder = tmp_path / "multirun" / "s"

    def shipped() -> int:
        done = [json.loads(path.read_bytes())["done"] for path in folder.rglob("*.position")]
        return sum(done)

    try:
        for count in (5, 40):
            kit.eventually(lambda count=count: shipped() >= count, f"{count} trials in MLflow")
            server.kill()
            server.start()
        (tmp_path / "killed").touch()  # the last trials wait for it: both kills come in the middle
        output, _ = sweep.communicate(timeout=kit.patience_s)
    finally:
        sweep.kill()
    assert sweep.returncode == 0, output
    # The companion gives up where the server takes long to come back, as the user is told.
    kit.eventually(lambda: kit.ship(server.uri) or not entries(), "all of it in MLflow")
    runs = [r for r in remote.runs() if r.data.tags.get("explr.kind") == "trial"]
    assert len(runs) == trials
    assert {r.info.status for r in runs} == {"FINISHED"}
    rows = {r.data.tags["explr.run"]: remote.rows(r, "loss") for r in runs}
    written = {}
    for journal in folder.glob("*/journal-*.jsonl"):
        events = [event for event, _ in read_events(journal)]
        losses = [e for e in events if e["k"] == "metrics" and "loss" in e["m"]]
        written[events[0]["run"]] = [(e["s"], e["m"]["loss"]) for e in losses]
    assert rows == written
    assert sum(map(len, rows.values())) == 10 * trials


def test_a_kill_after_every_thousandth_row_loses_none_and_doubles_none(
    store: Any, kit: Any, tmp_path: Path
) -> None:
    for first in range(0, 5000, 1000):
        command = [sys.executable, "-c", WRITER, tmp_path / "run", str(first)]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
        if first == 2000:  # some of it is in MLflow by then
            kit.ship()
    kit.ship()
    assert entries() == []
    assert store.rows(store.run(), "loss") == [(step, step / 2) for step in range(5000)]
    assert store.status() == "KILLED"


def test_eight_starters_make_one_experiment(store: Any, kit: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STARTERS, store.uri],
        capture_output=True,
        text=True,
        timeout=kit.patience_s,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names = done.stdout.split()
    assert len(names) == 8
    assert len(set(names)) == 1


def test_mlflows_own_calls_to_a_server(
    server: Server, kit: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import mlflow

    kit.eventually(lambda: answers(server.uri, 5.0), "the server")
    params = {"epochs": 20, "lr": 0.1}
    run = kit.begin(tmp_path / "own", server.uri, experiment="own calls", params=params)
    kit.ship(server.uri)
    with run.tracker.mlflow_run():
        mlflow.log_params({"epochs": 3, "depth": 1})
        mlflow.log_params({"lr": 0.2, "width": 2}, synchronous=False)
        mlflow.start_run(nested=True, run_name="fold")
    assert capsys.readouterr().out == ""  # the run has not ended: MLflow announces no address
    run.close("FINISHED")
    kit.ship(server.uri)
    remote = kit.store_at(server.uri)
    own, fold = remote.run("own"), remote.run("fold")
    assert own.data.params == {"epochs": "20", "lr": "0.1", "depth": "1", "width": "2"}
    assert (own.data.tags["changed.epochs"], own.data.tags["changed.lr"]) == ("3", "0.2")
    assert (own.info.status, fold.info.status) == ("FINISHED", "FINISHED")
    assert fold.data.tags["mlflow.parentRunId"] == own.info.run_id
    assert fold.info.experiment_id == own.info.experiment_id
