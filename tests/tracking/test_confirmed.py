"""What was uploaded is in the sink: whatever MLflow's variables say, and checked by count."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from memory_sink import SCHEME, URI, FakeClock, Memory, MemorySink

from explr.runner.cli.sync import sync_journals, verify_journals
from explr.tracking.journal.pending import enter, entries
from explr.tracking.journal.position import read_position
from explr.tracking.mlflow.sink import MLflowSink
from explr.tracking.mlflow.variables import DEFAULTS, FIXED, settle
from explr.tracking.run import TrackedRun
from explr.tracking.shipping.run_upload import MOST_REPLAYS, RunUpload
from explr.tracking.shipping.shipper import Shipper
from explr.tracking.shipping.sink import Contents
from explr.tracking.shipping.sinks import SINKS
from explr.tracking.shipping.verification import Tally, lacking

NO_PID = 2**22 + 1
"""No process has this number."""

WORST = {
    "MLFLOW_ENABLE_ASYNC_LOGGING": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "99",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "9999",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "many",
    "MLFLOW_RUN_ID": "0" * 32,
    "MLFLOW_EXPERIMENT_ID": "99",
    "MLFLOW_EXPERIMENT_NAME": "elsewhere",
    "MLFLOW_ACTIVE_MODEL_ID": "m-none",
    "_MLFLOW_ACTIVE_MODEL_ID": "m-none",
    "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "true",
    "MLFLOW_TRUNCATE_LONG_VALUES": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "true",
    "MLFLOW_SQLALCHEMYSTORE_ECHO": "true",
    "MLFLOW_DISABLE_AGENT_HINT": "false",
    "MLFLOW_DISABLE_TELEMETRY": "false",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "1",
}
"""For each variable a value that harms an upload, or is noticed."""

LEFT_ALONE = {
    "MLFLOW_ASYNC_LOGGING_BUFFERING_SECONDS": "60",
    "MLFLOW_ASYNC_LOGGING_THREADPOOL_SIZE": "1",
    "MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": "true",
    "MLFLOW_TRACE_SAMPLING_RATIO": "0",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "true",
    "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": "1",
    "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool",
    "MLFLOW_ENABLE_MULTIPART_UPLOAD": "false",
}
"""Variables that are the user's, with values under which nothing may be lost either."""


def log_all(run: TrackedRun) -> None:
    """Log something of each kind, and end the run."""
    run.tracker.log_params({"lr": 0.1, "text": "x" * 7000})
    for step in range(20):
        run.tracker.log_metrics({"loss": step / 2, "odd": math.nan}, step)
    run.tracker.log_text("hello", "notes.txt")
    run.close("FINISHED")


def test_every_variable_is_tested() -> None:
    assert WORST.keys() == FIXED.keys() | DEFAULTS.keys()


@pytest.mark.parametrize(
    "variables", [*({name: value} for name, value in WORST.items()), LEFT_ALONE], ids=" ".join
)
def test_no_variable_of_mlflows_loses_anything(
    store: Any,
    kit: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    variables: dict[str, str],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    log_all(kit.begin(tmp_path / "run"))
    kit.ship()
    assert capfd.readouterr() == ("", "")
    assert entries() == []
    found = store.run("run")  # and there is no other
    assert store.rows(found, "loss") == [(step, step / 2) for step in range(20)]
    assert len(store.rows(found, "odd")) == 20
    assert found.data.metrics.keys() == {"loss", "odd"}
    assert found.data.params["lr"] == "0.1"
    assert store.artifacts(found)["notes.txt"] == 5
    assert (found.info.experiment_id, found.info.status) == ("1", "FINISHED")


def test_what_the_user_has_set_for_other_things_stays() -> None:
    environment = {"MLFLOW_TRACKING_TOKEN": "t", "MLFLOW_HTTP_REQUEST_TIMEOUT": "600", **LEFT_ALONE}
    before = dict(environment)
    settle(environment)
    assert environment.items() >= before.items()


# What a tally counts


def metrics(at: int, step: int | None = 0, **values: float) -> dict[str, Any]:
    return {"k": "metrics", "t": at, "s": step, "m": values}


@pytest.mark.parametrize(
    ("events", "rows"),
    [
        ([metrics(1, loss=1.0), metrics(1, loss=1.0)], 1),
        ([metrics(1, loss=math.nan), metrics(1, loss=math.nan)], 1),
        ([metrics(1, None, loss=1.0), metrics(1, 0, loss=1)], 1),
        ([metrics(1, loss=1.0), metrics(2, loss=1.0)], 2),
        ([metrics(1, 1, loss=1.0), metrics(1, 2, loss=1.0)], 2),
        ([metrics(1, loss=1.0), metrics(1, loss=2.0), metrics(1, loss=1.0)], 2),
        ([metrics(1, loss=1.0), metrics(9, loss=1.0), metrics(1, loss=1.0)], 2),
    ],
)
def test_a_tally_counts_rows_as_mlflow_stores_them(
    store: Any, events: list[dict[str, Any]], rows: int
) -> None:
    tally = Tally()
    for event in events:
        tally.add(event)
    assert tally.rows == {"loss": rows}
    sink = MLflowSink(store.uri)
    sink.connect()
    run_id = store.client.create_run("0").info.run_id
    sink.send(run_id, events)
    assert sink.contents(run_id, Contents({"loss": rows})).rows == {"loss": rows}


def test_a_tally_of_many_events_keeps_few() -> None:
    tally = Tally()
    for step in range(20_000):
        tally.add(metrics(step, step, loss=1.0))
    assert tally.rows == {"loss": 20_000}
    assert len(tally._recent) < 5000


def test_what_is_missing_is_named() -> None:
    wanted = Contents({"a": 3, "b": 1}, {"lr", "n"}, {f"f{i}" for i in range(6)})
    held = Contents({"a": 1, "b": 5}, {"n"}, {"f0"})
    assert lacking(wanted, held, {}) == (
        "2 of 3 rows of a and the parameter lr and the artifacts f1, f2, f3, f4 and 1 more"
    )
    assert lacking(Contents({"a": 3}), held, {"a": 2}) == ""
    assert len(lacking(Contents({"x" * 250: 1}), held, {})) <= 150


# A sink that loses what it has acknowledged


class Lossy(MemorySink):
    """Acknowledges the first calls of a method, and does nothing."""

    def __init__(self, memory: Memory, method: str, losses: int) -> None:
        super().__init__(memory)
        self.method = method
        self.losses = losses

    def _loses(self, method: str) -> bool:
        if method != self.method or self.losses == 0:
            return False
        self.losses -= 1
        return True

    def send(self, run_id: str, events: Sequence[Mapping[str, Any]]) -> None:
        if not self._loses("send"):
            super().send(run_id, events)

    def upload(self, run_id: str, path: Path, folder: str) -> None:
        if not self._loses("upload"):
            super().upload(run_id, path, folder)


def ship(sink: MemorySink) -> None:
    Shipper(sink, clock=FakeClock(), are_cores_busy=lambda: False).run()


def killed(run: TrackedRun) -> None:
    """Have the process of a run be gone, as after a kill."""
    (entry,) = [entry for entry in entries(URI) if entry.uid == run.journal.uid]
    enter(replace(entry, pid=NO_PID))
    run.journal.close()


@pytest.mark.parametrize("method", ["send", "upload"])
@pytest.mark.parametrize("kill", [False, True])
def test_what_was_lost_is_uploaded_again(kit: Any, tmp_path: Path, method: str, kill: bool) -> None:
    memory = Memory()
    run = kit.begin(tmp_path / "run", URI, params={"lr": 1})
    run.tracker.log_metric("loss", 1.0, 1)
    run.tracker.log_text("hello", "notes.txt")
    killed(run) if kill else run.close("FINISHED")
    ship(Lossy(memory, method, 1))
    assert entries() == []
    seen = memory.run("run")
    assert (seen.params, seen.values("loss")) == ({"lr": "1"}, [(1, 1.0)])
    assert seen.files == {"notes.txt": b"hello"}
    assert seen.status == ("KILLED" if kill else "FINISHED")


def test_what_stays_missing_is_told_and_stays_on_the_list(kit: Any, tmp_path: Path) -> None:
    memory = Memory()
    run = kit.begin(tmp_path / "run", URI, params={"lr": 1})
    run.tracker.log_metric("loss", 1.0, 1)
    run.close("FINISHED")
    sink = Lossy(memory, "send", 1 + MOST_REPLAYS)
    ship(sink)
    position = read_position(run.journal.path)
    assert (position.done, position.stuck) == (False, True)
    assert position.error == (
        "MLflow lacks 1 of 1 rows of loss and the parameter lr, although it was uploaded"
    )
    assert [entry.uid for entry in entries()] == [run.journal.uid]
    ship(MemorySink(memory))  # `explr sync`, later
    assert entries() == []
    assert memory.run("run").values("loss") == [(1, 1.0)]


def test_a_later_attempt_is_checked_with_all_before(kit: Any, tmp_path: Path) -> None:
    memory = Memory()
    first = kit.begin(tmp_path / "run", URI)
    for step in range(5):
        first.tracker.log_metric("loss", step, step)
    first.close("FAILED")
    ship(MemorySink(memory))
    memory.run("run").rows.clear()  # and MLflow loses its rows, but none of the next attempt
    second = kit.begin(tmp_path / "run", URI, resumes=True)
    for step in range(5, 12):
        second.tracker.log_metric("loss", step, step)
    second.close("FINISHED")
    ship(MemorySink(memory))
    assert entries() == []
    assert memory.run("run").values("loss") == [(step, step) for step in range(12)]
    assert memory.run("run").status == "FINISHED"


def test_a_process_that_goes_on_counts_what_was_sent_before(kit: Any, tmp_path: Path) -> None:
    memory = Memory()
    run = kit.begin(tmp_path / "run", URI)
    run.tracker.log_metric("loss", 1.0, 1)
    ship(MemorySink(memory))
    memory.run("run").rows.clear()
    run.tracker.log_metric("loss", 2.0, 2)
    run.close("FINISHED")
    ship(MemorySink(memory))
    assert memory.run("run").values("loss") == [(1, 1.0), (2, 2.0)]


def test_more_in_the_sink_is_no_fault_and_costs_one_question(kit: Any, tmp_path: Path) -> None:
    memory = Memory()
    run = kit.begin(tmp_path / "run", URI)
    run.tracker.log_metric("loss", 1.0, 1)
    ship(MemorySink(memory))
    memory.run("run").rows.add(("loss", 7, 1, "9.0"))  # the training's own call of MLflow's
    run.close("FINISHED")
    ship(MemorySink(memory))
    assert entries() == []
    assert memory.calls.count("contents run") == 1
    assert memory.calls.count("open_run run") == 1


# With MLflow


def lose(store: Any, *statements: str) -> None:
    path = store.uri.partition(":///")[2]
    with closing(sqlite3.connect(path)) as database, database:
        for statement in statements:
            database.execute(statement)


def test_rows_that_mlflow_refuses_are_not_missed(store: Any, kit: Any, tmp_path: Path) -> None:
    run = kit.begin(tmp_path / "run", params={"p": 1, "läng st?": 2})
    run.tracker.log_metric("lo ss?", 1.0)
    run.journal.write({"k": "metrics", "t": -5, "s": 0, "m": {"bad": 1.0, "lo ss?": 2.0}})
    kit.ship()  # another process goes on
    run.tracker.log_params({"p": 2})
    run.close("FINISHED")
    kit.ship()
    assert entries() == []
    assert read_position(run.journal.path).refused == {"bad": 1, "lo ss?": 1}
    assert store.run().data.tags["changed.p"] == "2"
    assert verify_journals(tmp_path) == 0


@pytest.mark.parametrize(
    ("loss", "missing"),
    [
        ("DELETE FROM metrics WHERE step = 3", "1 of 20 rows of loss, 1 of 20 rows of odd"),
        ("DELETE FROM params WHERE key = 'lr'", "the parameter lr"),
        ("", "the artifact notes.txt"),
    ],
)
def test_verify_names_what_a_store_has_lost_and_sync_uploads_it(
    store: Any,
    kit: Any,
    home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    loss: str,
    missing: str,
) -> None:
    run = kit.begin(tmp_path / "run")
    log_all(run)
    kit.ship()
    before = store.run()
    whole = store.artifacts(before)
    assert verify_journals(tmp_path) == 0
    what = "40 rows, 2 parameters and 2 artifacts"
    assert capsys.readouterr().out == f"run: MLflow has all of its {what}\n"
    if loss:
        lose(store, loss)
    else:
        (file,) = (home / "artifacts").rglob("notes.txt")
        file.unlink()
    assert verify_journals(tmp_path / "run") == 1
    captured = capsys.readouterr()
    assert captured.err == f"run: of {what} MLflow lacks {missing}: `explr sync run` uploads it\n"
    assert sync_journals(tmp_path / "run") == 0
    assert verify_journals(tmp_path) == 0
    after = store.run()
    assert after.info.run_id == before.info.run_id
    assert (after.info.status, after.data.params) == ("FINISHED", before.data.params)
    assert len(store.rows(after, "loss")) == len(store.rows(after, "odd")) == 20
    assert store.artifacts(after) == whole


def test_verify_of_what_is_not_in_mlflow(
    store: Any, kit: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = kit.begin(tmp_path / "run")
    log_all(run)
    assert verify_journals(tmp_path) == 1
    assert capsys.readouterr().err == "run: it is not uploaded yet: `explr sync run` does it\n"
    kit.ship()
    run_id = store.run().info.run_id
    store.client.delete_run(run_id)
    assert verify_journals(tmp_path) == 1
    assert capsys.readouterr().err == "run: the run was deleted in MLflow: restore it there\n"
    lose(store, "DELETE FROM metrics", "DELETE FROM latest_metrics", "DELETE FROM params")
    lose(store, "DELETE FROM tags", "DELETE FROM runs")
    assert verify_journals(tmp_path) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"run: MLflow has no run {run_id} any more: ")
    assert entries() == []  # it may have been deleted on purpose
    assert verify_journals(tmp_path / "home") == 1
    assert "no run" in capsys.readouterr().err


def test_verify_looks_where_each_run_went(
    kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    memory = Memory()
    monkeypatch.setitem(SINKS, SCHEME, lambda uri: MemorySink(memory, uri))
    sweep = kit.begin(tmp_path / "sweep", URI)
    for name in ("0", "1"):
        trial = kit.begin(tmp_path / "sweep" / name, URI, parent=sweep.journal.path)
        trial.tracker.log_metric("loss", 1.0)
        trial.close("FINISHED")
    sweep.close("FINISHED")
    ship(MemorySink(memory))
    memory.run("1").rows.clear()
    assert verify_journals(tmp_path / "sweep") == 1
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 2
    assert captured.err == (
        "sweep/1: of 1 row, 0 parameters and 0 artifacts MLflow lacks 1 of 1 rows of loss: "
        "`explr sync sweep/1` uploads it\n"
    )


def test_a_check_that_cannot_be_made_now_is_made_later(kit: Any, tmp_path: Path) -> None:
    memory = Memory()
    run = kit.begin(tmp_path / "run", URI)
    run.close("FINISHED")
    memory.go_away()
    away = memory.failing["contents"]
    memory.failing = {"contents": away, "check": away}
    ship(MemorySink(memory))
    assert [entry.uid for entry in entries()] == [run.journal.uid]
    assert read_position(run.journal.path).error == "nobody is there"
    memory.come_back()
    upload = RunUpload(MemorySink(memory), run.journal.path)
    upload.advance()
    assert upload.done
