import os
import pty
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from memory_sink import SCHEME, URI, Memory, MemorySink

from explr.runner.cli.sync import sync_journals
from explr.tracking.journal.pending import enter, entries
from explr.tracking.mlflow.sink import MLflowSink
from explr.tracking.shipping.run_upload import RunUpload
from explr.tracking.shipping.sinks import SINKS

NO_PID = 2**22 + 1
"""No process has this number."""


@pytest.fixture(autouse=True)
def _root_handlers() -> Any:
    import logging

    before = list(logging.getLogger().handlers)
    yield
    for handler in logging.getLogger().handlers[:]:
        if handler not in before:
            logging.getLogger().removeHandler(handler)
            handler.close()


def test_nothing_waits(capsys: pytest.CaptureFixture[str]) -> None:
    assert sync_journals(None) == 0
    assert capsys.readouterr().out == "Everything is in MLflow already.\n"


def test_what_waits_is_shipped_and_told(
    store: Any, kit: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        run = kit.begin(tmp_path / name)
        run.tracker.log_metric("loss", 1.0)
        run.close("FINISHED")
    kit.begin(tmp_path / "live")
    assert sync_journals(None) == 0
    captured = capsys.readouterr()
    assert captured.out == "Uploading 3 runs …\n2 runs uploaded, 1 left.\n"
    assert captured.err.endswith("its training is still running\n")
    assert sync_journals(None) == 0
    assert len(store.runs()) == 3


def test_a_folder_limits_what_is_told(
    store: Any, kit: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        kit.begin(tmp_path / name).close("FINISHED")
    assert sync_journals(tmp_path / "a") == 0
    assert "1 run uploaded, 0 left." in capsys.readouterr().out


def test_a_reason_is_told_and_exits_1(
    store: Any, kit: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store.client.delete_experiment(store.client.create_experiment("digits"))
    run = kit.begin(tmp_path / "run")
    run.close("FINISHED")
    assert sync_journals(None) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(
        f"run/{run.journal.path.name}: the MLflow experiment 'digits' was del"
    )
    assert captured.out.endswith("0 runs uploaded, 1 left.\n")


def test_a_deleted_journal_is_told(
    store: Any, kit: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = kit.begin(tmp_path / "run")
    shutil.rmtree(tmp_path / "run")
    assert sync_journals(None) == 1
    assert f"{run.journal.path} was deleted" in capsys.readouterr().err
    assert entries() == []


@pytest.mark.parametrize("pending", [True, False])
@pytest.mark.parametrize("emptied", [True, False])
def test_a_damaged_journal_is_told_and_the_others_are_shipped(
    kit: Any,
    home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    pending: bool,
    emptied: bool,
) -> None:
    memory = Memory()
    monkeypatch.setitem(SINKS, SCHEME, lambda uri: MemorySink(memory, uri))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", URI)
    bad, good = (kit.begin(tmp_path / name, URI, name=name) for name in ("bad", "good"))
    for run in (bad, good):
        run.tracker.log_metric("loss", 1.0)
        run.close("FINISHED")
    (entry,) = [entry for entry in entries() if entry.uid == bad.journal.uid]
    enter(replace(entry, pid=NO_PID))
    content = bad.journal.path.read_bytes()
    left = b"" if emptied else content.partition(b"\n")[2]
    bad.journal.path.write_bytes(left)
    if not pending:
        shutil.rmtree(home / "pending")
    code = sync_journals(tmp_path)
    captured = capsys.readouterr()
    assert "1 run uploaded" in captured.out
    if emptied and not pending:  # as a process leaves it that was killed before its first line
        assert (code, captured.err) == (0, "")
    else:
        (said,) = captured.err.splitlines()
        assert code == 1
        assert str(bad.journal.path) in said
        assert ("was emptied" if emptied else "is damaged") in said
    assert [run.start.name for run in memory.runs.values()] == ["good"]
    assert bad.journal.path.read_bytes() == left


@pytest.mark.parametrize("kept", ["position", "nothing"])
def test_a_folder_that_came_from_elsewhere_is_shipped(
    store: Any, kit: Any, home: Path, tmp_path: Path, kept: str
) -> None:
    sweep = kit.begin(tmp_path / "sweep")
    for name in ("0", "1"):
        run = kit.begin(tmp_path / "sweep" / name, parent=sweep.journal.path)
        run.tracker.log_text("hello", "notes.txt")
        run.tracker.log_metric("loss", 1.0)
        run.close("FINISHED")
    sweep.close("FINISHED")
    shutil.rmtree(home / "pending")
    if kept == "nothing":
        for position in (tmp_path / "sweep").rglob("*.position"):
            position.unlink()
    (tmp_path / "sweep").rename(tmp_path / "ein anderer Ort")
    assert sync_journals(tmp_path / "ein anderer Ort") == 0
    assert {r.info.status for r in store.runs()} == {"FINISHED"}
    for name in ("0", "1"):
        assert store.artifacts(store.run(name)) == {"notes.txt": 5}
        assert store.rows(store.run(name), "loss") == [(0, 1.0)]
    assert sync_journals(tmp_path / "ein anderer Ort") == 0
    assert len(store.runs()) == 3


def test_a_folder_that_was_moved_is_found_again(store: Any, kit: Any, tmp_path: Path) -> None:
    run = kit.begin(tmp_path / "run")
    run.tracker.log_metric("loss", 1.0)
    run.close("FINISHED")
    (tmp_path / "run").rename(tmp_path / "moved")
    assert sync_journals(tmp_path / "moved") == 0
    assert store.rows(store.run(), "loss") == [(0, 1.0)]


def test_a_run_that_was_taken_for_dead_is_corrected(store: Any, kit: Any, tmp_path: Path) -> None:
    run = kit.begin(tmp_path / "run")
    run.tracker.log_metric("loss", 1.0)
    kit.ship()
    sink = MLflowSink(store.uri)
    sink.connect()
    RunUpload(sink, run.journal.path).close_as_killed()
    kit.ship()
    assert store.status() == "KILLED"
    assert entries() == []
    run.tracker.log_metric("loss", 2.0, step=1)
    run.close("FINISHED")
    assert sync_journals(tmp_path) == 0
    assert store.status() == "FINISHED"
    assert store.rows(store.run(), "loss") == [(0, 1.0), (1, 2.0)]


def test_a_damaged_entry_is_repaired(store: Any, kit: Any, home: Path, tmp_path: Path) -> None:
    run = kit.begin(tmp_path / "run")
    run.close("FINISHED")
    (pending,) = (home / "pending").glob("*.json")
    pending.write_bytes(b"")
    assert entries() == []
    assert sync_journals(tmp_path) == 0
    assert store.status() == "FINISHED"
    assert not pending.exists()


@pytest.mark.slow
def test_two_at_once_and_beside_a_live_run(store: Any, kit: Any, tmp_path: Path) -> None:
    train = kit.write_training(
        tmp_path / "job.py",
        """
for i in range(60_000):
    ctx.tracker.log_metric("loss", i, step=i)
    if os.path.exists("stop"):
        break
    time.sleep(0.01)
return 1.0
""",
    )
    old = kit.begin(tmp_path / "old")
    for i in range(3000):
        old.tracker.log_metric("loss", i, step=i)
    old.close("FINISHED")
    process = kit.start(train, "tracking.drain_timeout_s=200")
    with process:
        kit.eventually(lambda: any(entry.uid != old.journal.uid for entry in entries()))
        syncs = [kit.start("sync") for _ in range(2)]
        for sync in syncs:
            with sync:
                sync.communicate(timeout=kit.patience_s)
                assert sync.returncode == 0
        kit.eventually(lambda: "FINISHED" in [r.info.status for r in store.runs()])
        (tmp_path / "stop").touch()
        output, _ = process.communicate(timeout=kit.patience_s)
    assert process.returncode == 0, output
    kit.eventually(lambda: not entries())
    assert [r.info.status for r in store.runs()] == ["FINISHED", "FINISHED"]
    assert store.rows(store.run("old"), "loss") == [(i, i) for i in range(3000)]
    (live,) = [r for r in store.runs() if r.info.run_name != "old"]
    rows = store.rows(live, "loss")
    assert rows == [(i, i) for i in range(len(rows))]
    assert rows


@pytest.mark.slow
def test_a_terminal_shows_how_far_it_is(store: Any, kit: Any, tmp_path: Path) -> None:
    run = kit.begin(tmp_path / "run")
    for step in range(26_000):
        run.tracker.log_metric("loss", step, step=step)
    run.close("FINISHED")
    here, there = pty.openpty()
    with subprocess.Popen([sys.executable, "-m", "explr", "sync"], stdout=there) as process:
        os.close(there)
        shown = b""
        with suppress(OSError):  # what Linux says when the terminal's other side is closed
            while part := os.read(here, 4096):
                shown += part
        os.close(here)
    assert process.returncode == 0
    percentages = [int(found) for found in re.findall(rb"(\d+)%", shown)]
    assert percentages == sorted(percentages)
    assert percentages[-1] == 100
    assert len(set(percentages)) > 2
    assert b"1 run uploaded, 0 left." in shown
