"""A remote MLflow server that is slow, cut off, killed and brought back; what a kill leaves."""

import json
import math
import os
import random
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from faulty_proxy import Fault, FaultyProxy, RandomFaults, Request, is_forbidden
from remote_server import STARTERS, Server, begun

from explr.runner.cli.sync import verify_journals
from explr.tracking.journal.lines import read_events
from explr.tracking.journal.pending import enter, entries
from explr.tracking.mlflow.names import MAX_PARAM, legal_name, short_value
from explr.tracking.mlflow.serving.server_process import answers
from explr.tracking.mlflow.sink import MLflowSink
from explr.tracking.shipping.sink import LoggedModel, SinkUnavailable

BIGGEST = sys.float_info.max
"""Stands for infinity in a database."""

pytestmark = pytest.mark.slow

TRAINING = """
while int(ctx.output_dir.name) > 15 and not os.path.exists(os.environ["KILLED"]):
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


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, template: Path) -> Iterator[Server]:
    with begun(tmp_path_factory.mktemp("remote"), template) as server:
        yield server


def test_lost_replies_make_no_second_model_and_no_second_data_set(
    server: Server, kit: Any, tmp_path: Path
) -> None:
    (tmp_path / "net-1").mkdir()
    (tmp_path / "net-1" / "MLmodel").write_text("flavors: {}\n")
    changing = re.compile(
        r"/(log-inputs|outputs|log-batch|logged-models|(registered-models|model-versions)/create)$"
    )
    seen: Counter[str] = Counter()

    def drops(request: Request) -> Fault | None:
        """The first request to each address that changes something loses its reply."""
        if request.method in ("PUT", "PATCH") or changing.search(request.path):
            seen[request.path] += 1
        return Fault("reset", reaches=True) if seen[request.path] == 1 else None

    kit.eventually(lambda: answers(server.uri, 5.0), "the server")
    client, failures = kit.store_at(server.uri).client, 0
    run_id = client.create_run(client.create_experiment("models")).info.run_id
    model = LoggedModel("net", 1, "cnn", {"n": "1"}, {"a": "b"}, {"loss": (1, 0.5)}, "remote")
    dataset = {"name": "digits", "digest": "1a", "source_type": "local", "source": "{}"}
    with FaultyProxy(server.port, drops) as proxy:
        sink = MLflowSink(proxy.uri)
        sink.connect()
        while True:
            try:
                sink.send(run_id, [{"k": "input", "t": 1, "d": dataset, "g": {"kind": "raw"}}])
                sink.log_model(run_id, tmp_path / "net-1", model)
                break
            except SinkUnavailable:
                failures += 1
    assert failures >= 8
    found = client.get_run(run_id)
    assert [each.dataset.name for each in found.inputs.dataset_inputs] == ["digits"]
    ((logged, step),) = [(each.model_id, each.step) for each in found.outputs.model_outputs]
    (entry,) = client.search_logged_models([found.info.experiment_id])
    assert (entry.model_id, str(entry.status), step) == (logged, "READY", 1)
    assert [(m.key, m.value) for m in entry.metrics] == [("loss", 0.5)]
    assert len(client.search_model_versions("name='remote'")) == 1
    (file,) = client.list_logged_model_artifacts(logged)
    assert file.path == "MLmodel"


def test_lost_replies_make_no_second_run_and_no_second_row(
    server: Server, kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "sesame")
    seen: dict[str, int] = {}
    strangers: list[str] = []

    def drops(request: Request) -> Fault | None:
        """The first two requests to each address that changes something lose their replies."""
        if request.authorization != "Basic bWU6c2VzYW1l":
            strangers.append(request.path)
        changes = ("runs/create", "runs/log-batch", "runs/update", "experiments/create")
        if not (request.method == "PUT" or request.path.endswith(changes)):
            return None
        seen[request.path] = seen.get(request.path, 0) + 1
        return Fault("reset", reaches=True) if seen[request.path] <= 2 else None

    kit.eventually(lambda: answers(server.uri, 5.0), "the server")
    with FaultyProxy(server.port, drops) as proxy:
        run = kit.begin(tmp_path / "run", proxy.uri, experiment="lost", params={"lr": 0.1})
        for step in range(1500):
            run.tracker.log_metric("loss", step / 3, step=step)
        run.tracker.log_text("hello", "notes.txt")
        run.close("FINISHED")
        kit.eventually(lambda: kit.ship(proxy.uri) or not entries(), "all of it in MLflow")
    assert sum(count > 2 for count in seen.values()) >= 3  # each was lost, and sent again
    assert strangers == []  # who ships says who it is
    remote = kit.store_at(server.uri)
    (found,) = [r for r in remote.runs() if r.data.tags.get("explr.run") == run.journal.uid]
    assert remote.rows(found, "loss") == [(step, step / 3) for step in range(1500)]
    assert found.info.status == "FINISHED"
    assert "notes.txt" in remote.artifacts(found)


RANDOM_RUNS = int(os.environ.get("EXPLR_FAULTY_RUNS", "4"))
"""Runs of the test with random faults; 200 of them take some twenty minutes."""


def random_run(kit: Any, folder: Path, draw: random.Random, uri: str, parent: Path | None) -> Any:
    """A run of any size and end, as a training may leave it."""
    run = kit.begin(
        folder,
        uri,
        experiment="faulty",
        params={"lr": draw.random(), "text": "x" * draw.choice((1, 7000)), "a,b": draw.random()},
        parent=parent,
    )
    tracker = run.tracker
    for step in range(draw.choice((0, 3, 40, 1200))):
        values = {f"m{i}": draw.random() for i in range(draw.randint(1, 3))}
        tracker.log_metrics(values, step=step)
    tracker.log_metric("odd (name)", draw.choice((math.nan, math.inf, -1e300)), step=0)
    tracker.set_tag("note", "é" * draw.randint(1, 9))
    for number in range(draw.randrange(6)):
        name = f"{draw.choice(('fine', 'forbidden'))}-{number}.txt"
        tracker.log_text(f"{folder.name} {name} " * draw.choice((1, 20000)), f"texts/{name}")
    if draw.random() < 0.5:
        many = folder / "many"
        many.mkdir()
        for number in range(3):
            (many / f"{draw.choice(('fine', 'forbidden'))}-{number}.bin").write_bytes(b"\0\1" * 50)
        tracker.log_artifact(many)
    return run


def leave(run: Any, dead: int) -> None:
    """Let a run look as after a SIGKILL of its process."""
    run.journal.close()
    (entry,) = [one for one in entries() if one.uid == run.journal.uid]
    enter(replace(entry, pid=dead, started="long ago"))


def test_random_faults_lose_nothing_double_nothing_and_end(
    server: Server, kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = int(os.environ.get("EXPLR_FAULTY_SEED", "0"))
    is_long = RANDOM_RUNS > 50
    draw, faults = random.Random(seed), RandomFaults(seed)
    slow_s = 12.0 if is_long else 2.0
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "10" if is_long else "1")
    dead = subprocess.Popen(["true"])
    dead.wait()
    statuses: dict[str, str] = {}
    runs = []
    kit.eventually(lambda: answers(server.uri, 5.0), "the server")
    with FaultyProxy(server.port, faults, slow_s) as proxy:
        for number in range(RANDOM_RUNS):
            parent = draw.choice(runs).journal.path if runs and draw.random() < 0.5 else None
            run = random_run(kit, tmp_path / f"run-{number}", draw, proxy.uri, parent)
            status = draw.choice(("FINISHED", "FAILED", "KILLED"))
            if status == "KILLED":
                leave(run, dead.pid)
            else:
                run.close(status)
            statuses[run.journal.uid] = status
            runs.append(run)
        rounds = 0
        while entries():  # each time, the upload ends at what fails
            kit.ship(proxy.uri)
            rounds += 1
            assert rounds < 1000
    remote = kit.store_at(f"sqlite:///{server.folder}/remote.db")
    found = [r for r in remote.runs() if r.data.tags.get("explr.run") in statuses]
    assert {r.data.tags["explr.run"]: r.info.status for r in found} == statuses
    assert len(found) == RANDOM_RUNS
    for run in runs:
        (seen,) = [r for r in found if r.data.tags["explr.run"] == run.journal.uid]
        check_contents(remote, seen, server.folder / "artifacts", run.journal.path)


def check_contents(remote: Any, run: Any, store: Path, journal: Path) -> None:
    """A run has each row of its journal once, and each file that the server takes."""
    events = [event for event, _ in read_events(journal)]
    rows: dict[str, set[tuple[int, int, str]]] = {}
    params: dict[str, str] = {}
    for event in events:
        params |= {legal_name(k): short_value(v, MAX_PARAM) for k, v in event.get("p", {}).items()}
        for name, value in event.get("m", {}).items():
            row = (event["t"], event["s"], repr(max(min(value, BIGGEST), -BIGGEST)))
            rows.setdefault(legal_name(name), set()).add(row)
    assert run.data.params == params
    assert run.data.metrics.keys() == rows.keys()
    for name, expected in rows.items():
        history = remote.client.get_metric_history(run.info.run_id, name)
        assert sorted((m.timestamp, m.step, repr(m.value)) for m in history) == sorted(expected)
    folder = journal.parent / "artifacts"
    logged = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    refused = {name for name in logged if is_forbidden(name)}
    place = store / run.info.experiment_id / run.info.run_id / "artifacts"
    there = {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()}
    assert there == logged - refused
    assert all((place / name).read_bytes() == (folder / name).read_bytes() for name in there)
    told = run.data.tags.get("explr.missing", "")
    assert [name for name in refused if name not in told] == []


def test_two_errors_lose_nothing_whatever_mlflows_variables_say(
    server: Server,
    kit: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", "true")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "999")
    monkeypatch.setenv("MLFLOW_ACTIVE_MODEL_ID", "m-none")
    monkeypatch.setenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "false")
    monkeypatch.setattr("mlflow.store.tracking.GET_METRIC_HISTORY_MAX_RESULTS", 700)
    kit.eventually(lambda: answers(server.uri, 5.0), "the server")
    failed: list[Request] = []

    def fails(request: Request) -> Fault | None:
        """The first two batches are refused."""
        if "runs/log-batch" not in request.path or len(failed) == 2:
            return None
        failed.append(request)
        return Fault("500")

    with FaultyProxy(server.port, fails) as proxy:
        run = kit.begin(tmp_path / "run", proxy.uri, experiment="errors", params={"lr": 0.1})
        for step in range(3000):
            run.tracker.log_metric("loss", step / 3, step=step)
        run.tracker.log_text("hello", "a folder/nötes 1.txt")
        run.close("FINISHED")
        kit.eventually(lambda: kit.ship(proxy.uri) or not entries(), "all of it in MLflow")
        assert len(failed) == 2
        assert "View run" not in capfd.readouterr().out
        remote = kit.store_at(server.uri)
        (found,) = [r for r in remote.runs() if r.data.tags.get("explr.run") == run.journal.uid]
        assert remote.rows(found, "loss") == [(step, step / 3) for step in range(3000)]
        assert found.data.params["lr"] == "0.1"
        assert verify_journals(tmp_path / "run") == 0
        assert "3000 rows, 1 parameter and 1 artifact" in capfd.readouterr().out
        (file,) = server.folder.rglob("nötes 1.txt")
        file.unlink()
        assert verify_journals(tmp_path / "run") == 1
        assert "lacks the artifact a folder/nötes 1.txt: " in capfd.readouterr().err
        kit.ship(proxy.uri)
        assert file.read_text() == "hello"
        remote.client.delete_run(found.info.run_id)
        assert verify_journals(tmp_path / "run") == 1
        assert "was deleted in MLflow" in capfd.readouterr().err


def test_a_sweep_during_which_the_server_is_killed_twice_loses_nothing(
    server: Server, kit: Any, tmp_path: Path
) -> None:
    trials = 20
    kit.eventually(lambda: answers(server.uri, 5.0), "the server")
    remote = kit.store_at(server.uri)
    train = kit.write_training(tmp_path / "job.py", TRAINING)
    sweep = kit.start(
        *("-m", train, "tuner=optuna", "tuner/sampler=random", f"tuner.n_trials={trials}"),
        *("lr=interval(0.1,0.2)", "tuner.study_name=s", "tuner/pruner=none"),
        *("experiment_name=killed", "hydra.output_subdir=null", "tracking.drain_timeout_s=0"),
        environment={
            "MLFLOW_TRACKING_URI": server.uri,
            "HTTP_PROXY": "http://127.0.0.1:9",  # to which nothing of this machine goes
            "KILLED": str(tmp_path / "killed"),
        },
    )
    folder = tmp_path / "multirun" / "s"

    def shipped() -> int:
        done = [json.loads(path.read_bytes())["done"] for path in folder.rglob("*.position")]
        return sum(done)

    try:
        for count in (3, 10):
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
