"""A tracker, a reporter and a context in the processes that a training starts."""

import json
import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from explr.core.errors import TrackingError
from explr.tracking.journal import journal as journal_module
from explr.tracking.journal.journal import Journal, reopened
from explr.tracking.journal.lines import read_events

ROWS = 10
"""Rows that each process adds to the table of all."""

TRAINING = f"""
import copy, multiprocessing, os, pickle, subprocess, sys
from concurrent.futures import ProcessPoolExecutor

import cloudpickle
import explr


def record(ctx, step):
    ctx.tracker.log_metric("seen", 1.0, step=step)
    ctx.report(step, other=2.0, val_loss=0.5)
    ctx.tracker.log_text("hello", f"text-{{step}}.txt")
    for row in range({ROWS}):
        ctx.tracker.log_table({{"step": step, "row": row}}, "rows.json")
    return os.getpid()


def in_mlflow(ctx):
    with ctx.tracker.mlflow_run():
        import mlflow

        mlflow.log_metric("theirs", 2.0, step=3)


def in_process(start):
    return ProcessPoolExecutor(1, multiprocessing.get_context(start))


def by_value(ctx, step):  # as libraries send work to machines that know nothing of it
    cloudpickle.register_pickle_by_value(sys.modules[record.__module__])
    code = "import pickle, sys; work, ctx, step = pickle.load(sys.stdin.buffer); work(ctx, step)"
    content = cloudpickle.dumps((record, ctx, step))
    subprocess.run([sys.executable, "-c", code], input=content, check=True)


def train(ctx):
    # Their numbers are those that a journal's descriptor may have in another process.
    shards = [open(ctx.output_dir / f"{{number}}.bin", "wb") for number in range(12)]
    pids = set()
    for step, start in enumerate(["fork", "spawn", "forkserver"]):
        with in_process(start) as pool:
            pids.add(pool.submit(record, ctx, step).result())
            if start == "spawn" and "mlflow" in ctx.hyperparameters:
                pool.submit(in_mlflow, ctx).result()
    by_value(ctx, 3)
    record(copy.deepcopy(ctx), 4)
    if "joblib" in ctx.hyperparameters:
        import joblib

        pids.update(joblib.Parallel(2)(joblib.delayed(record)(ctx, step) for step in (5, 6)))
    before = len(os.listdir("/dev/fd"))
    for _ in range(30):
        pickle.loads(pickle.dumps(ctx)).tracker.log_metric("again", 1.0)
    assert len(os.listdir("/dev/fd")) == before  # all trackers of a process share the file
    assert os.getpid() not in pids
    return 0.5


if __name__ == "__main__":
    from explr.tracking.run import TrackedRun

    TrackedRun.keep_shipping = lambda run: None
    overrides = ["+joblib=true", "tracking.drain_timeout_s=0"]
    explr.run(explr.compose(overrides), train, output_dir="run")
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    script = tmp_path / "job.py"
    script.write_text(TRAINING)
    return script


def check(run: Path, processes: int) -> None:
    """Check what the processes of a training recorded."""
    (journal,) = run.glob("journal-*.jsonl")
    events = [event for event, _ in read_events(journal)]
    metrics = [event for event in events if event["k"] == "metrics"]
    steps = list(range(processes))
    for names in (["seen"], ["other", "val_loss"]):
        assert sorted(event["s"] for event in metrics if list(event["m"]) == names) == steps
    assert sum(list(event["m"]) == ["again"] for event in metrics) == 30
    files = {event["f"] for event in events if event["k"] == "artifact"}
    assert {f"artifacts/text-{step}.txt" for step in steps} < files
    table = json.loads((run / "artifacts" / "rows.json").read_text())
    assert sorted(table["data"]) == [[step, row] for step in steps for row in range(ROWS)]
    assert {(run / f"{number}.bin").stat().st_size for number in range(12)} == {0}


@pytest.mark.slow
def test_processes_of_a_script_record(kit: Any, script: Path, tmp_path: Path) -> None:
    pytest.importorskip("joblib")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    check(tmp_path / "run", 7)


@pytest.mark.slow
def test_processes_of_a_command_record(store: Any, kit: Any, script: Path, tmp_path: Path) -> None:
    arguments = ("train_model=job:train", "+mlflow=true", "hydra.run.dir=run")
    done = kit.explr(*arguments, "tracking.drain_timeout_s=200")
    assert done.returncode == 0, done.stderr
    check(tmp_path / "run", 5)
    run = store.run()
    assert run.info.status == "FINISHED"
    assert store.rows(run, "seen") == [(step, 1.0) for step in range(5)]
    assert store.rows(run, "theirs") == [(3, 2.0)]
    assert {"rows.json", "text-1.txt"} < set(store.artifacts(run))


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> dict[Path, Journal]:
    """A process in which no journal was opened yet: clear it, and it is another one."""
    journals: dict[Path, Journal] = {}
    monkeypatch.setattr(journal_module, "_of_this_process", journals)
    return journals


def test_a_journal_is_opened_when_it_is_written(tmp_path: Path, elsewhere: Any) -> None:
    journal = Journal.create(tmp_path)
    elsewhere.clear()
    before = len(os.listdir("/dev/fd"))
    sent = reopened(journal.path)
    assert sent is not journal
    assert len(os.listdir("/dev/fd")) == before
    sent.append("tags", g={"a": "b"})
    elsewhere.clear()
    del sent
    assert len(os.listdir("/dev/fd")) == before
    assert [event["g"] for event, _ in read_events(journal.path)] == [{"a": "b"}]


def test_a_process_on_another_machine_is_told(kit: Any, tmp_path: Path, elsewhere: Any) -> None:
    run = kit.begin(tmp_path / "run")
    tracker = pickle.dumps(run.tracker)
    elsewhere.clear()
    (tmp_path / "run").rename(tmp_path / "there")
    sent = pickle.loads(tracker)
    told = rf"this machine \({socket.gethostname()}\) is not that of the training, and the run's"
    with pytest.raises(TrackingError, match=told):
        sent.log_metric("seen", 1.0)
    with pytest.raises(TrackingError, match=told):
        sent.mlflow_run()
    assert not (tmp_path / "run").exists()
