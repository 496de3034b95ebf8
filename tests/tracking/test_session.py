import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from remote_server import Server

from explr.core.errors import TrackingError
from explr.tracking.destination import absolute_uri
from explr.tracking.journal.lines import read_events
from explr.tracking.journal.pending import entries
from explr.tracking.mlflow.serving.server_process import answers
from explr.tracking.run import closing_line

MIRRORS = ["mlflow", "sqlalchemy", "pandas"]
HEAVY = [*MIRRORS, "torch", "tensorflow", "keras", "ray", "optuna", "pynvml", "filelock"]
TRAIN = "tracking.drain_timeout_s=200"

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "module", ["run", "callback", "client", "shipping.companion", "shipping.shipper"]
)
def test_importing_brings_in_nothing_heavy(module: str) -> None:
    code = f"import sys, explr.tracking.{module}; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_training_is_mirrored_without_mlflow_in_its_process(
    store: Any, kit: Any, tmp_path: Path
) -> None:
    train = kit.write_training(
        tmp_path / "job.py",
        f"""
for i in range(5):
    ctx.tracker.log_metric("val_loss", 1 / (i + 1), step=i)
ctx.tracker.log_params({{"extra": 1, "half": ctx.hyperparameters["epochs"] // 2}})
print("heavy:", [m for m in {MIRRORS} if m in sys.modules])
return 0.25
""",
    )
    done = kit.explr(train, "lr=0.125", TRAIN)
    assert done.returncode == 0, done.stderr
    assert "heavy: []" in done.stdout
    run = store.run()
    assert f"MLflow: run {run.info.run_id} in {store.uri}" in done.stdout
    assert run.info.status == "FINISHED"
    assert store.rows(run, "val_loss") == [(i, 1 / (i + 1)) for i in range(5)]
    assert run.data.metrics["objective"] == 0.25
    assert run.data.params["lr"] == "0.125"
    assert run.data.params["extra"] == "1"
    assert (run.data.params["epochs"], run.data.params["half"]) == ("20", "10")
    assert "width" not in run.data.params  # the training does not have it
    assert run.data.tags["explr.command"].startswith("explr ")
    sizes = store.artifacts(run)
    assert {".hydra/config.yaml", ".hydra/overrides.yaml", "result.json"} <= set(sizes)


def test_trainings_that_fail_or_are_ended_by_a_signal(store: Any, kit: Any, tmp_path: Path) -> None:
    train = kit.write_training(
        tmp_path / "job.py",
        """
for i in range(100):
    ctx.tracker.log_metric("loss", i, step=i)
if "fails" in ctx.hyperparameters:
    raise RuntimeError("no luck")
(ctx.output_dir / "ready").touch()
time.sleep(600)
""",
    )
    failed = kit.explr(train, "+fails=true", "hydra.run.dir=fails", "tracking.drain_timeout_s=0")
    assert failed.returncode == 1
    assert "no luck" in failed.stderr
    signals = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT]
    for signum in signals:
        process = kit.start(train, f"hydra.run.dir={signum.name}", "tracking.drain_timeout_s=0")
        with process:
            kit.eventually((tmp_path / signum.name / "ready").exists)
            process.send_signal(signum)
            output, _ = process.communicate(timeout=kit.patience_s)
        assert process.returncode == (-9 if signum == signal.SIGKILL else 130), output
    kit.eventually(lambda: not entries())
    statuses = {run.info.run_name: run.info.status for run in store.runs()}
    assert statuses == {"fails": "FAILED", **{signum.name: "KILLED" for signum in signals}}
    for run in store.runs():
        assert run.info.end_time >= run.info.start_time
        assert store.rows(run, "loss") == [(i, i) for i in range(100)]


def test_a_home_that_cannot_be_written_is_one_sentence(kit: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    train = kit.write_training(tmp_path / "job.py", "return 1.0")
    environment = {**os.environ, "EXPLR_HOME": str(tmp_path / "file")}
    done = kit.explr(train, env=environment)
    assert done.returncode == 1
    assert done.stderr.strip().count("\n") == 0
    assert "set EXPLR_HOME to a folder that can be written" in done.stderr
    assert kit.journals(tmp_path) == []


def test_a_server_that_does_not_answer_does_not_cost_the_training(
    kit: Any, tmp_path: Path, home: Path, port: int
) -> None:
    uri = f"http://127.0.0.1:{port}"
    train = kit.write_training(
        tmp_path / "job.py",
        f"""
for i in range(20):
    ctx.tracker.log_metric("loss", i, step=i)
ctx.tracker.log_text("hello", "notes.txt")
{kit.until_tried}
return 1.0
""",
    )
    process = kit.start(
        train, "tracking.drain_timeout_s=1", environment={"MLFLOW_TRACKING_URI": uri}
    )
    with process:
        output, _ = process.communicate(timeout=kit.patience_s)
    assert process.returncode == 0, output
    assert "Traceback" not in output
    reason, line = output.splitlines()[-2:]
    assert reason == f"Not uploaded: {uri} does not answer: connection refused"
    (journal,) = kit.journals(tmp_path)
    assert f"explr sync {journal.parent}" in line

    kit.kill_companions(home)
    done = kit.explr("sync")
    assert done.returncode == 1
    reason = f"{uri} does not answer: connection refused"
    assert done.stderr == f"{reason}\n{journal.relative_to(tmp_path)}: {reason}\n"

    server = Server(tmp_path, port)
    server.start()
    try:
        kit.eventually(lambda: answers(uri, 5.0), "the server")
        done = kit.explr("sync")
        assert (done.returncode, done.stderr) == (0, "")
        assert "1 run uploaded, 0 left." in done.stdout
        remote = kit.store_at(uri)
        run = remote.run()
        assert run.info.status == "FINISHED"
        assert remote.rows(run, "loss") == [(i, i) for i in range(20)]
        assert "notes.txt" in remote.artifacts(run)
        assert "Everything is in MLflow already" in kit.explr("sync").stdout
    finally:
        server.kill()


def test_without_tracking_there_is_no_mlflow_run_and_no_journal(kit: Any, tmp_path: Path) -> None:
    train = kit.write_training(
        tmp_path / "job.py", "with ctx.tracker.mlflow_run():\n    pass\nreturn 1.0"
    )
    done = kit.explr(train, "tracking=off")
    assert done.returncode == 1
    assert "needs a tracked run: set tracking=mlflow" in done.stderr
    assert kit.journals(tmp_path) == []


def test_a_relative_store_is_relative_to_where_the_command_was_given(
    kit: Any, template: Path, tmp_path: Path
) -> None:
    shutil.copyfile(template, tmp_path / "mine.db")
    train = kit.write_training(tmp_path / "job.py", "return 1.0")
    environment = {**os.environ, "MLFLOW_TRACKING_URI": "sqlite:///mine.db"}
    done = kit.explr(train, TRAIN, "hydra.job.chdir=true", env=environment)
    assert done.returncode == 0, done.stderr
    assert kit.store_at(f"sqlite:///{tmp_path}/mine.db").status() == "FINISHED"


@pytest.mark.parametrize(
    ("uri", "absolute"),
    [
        ("sqlite:///a.db", "sqlite:////w/a.db"),
        ("sqlite+pysqlite:///a.db?x=1", "sqlite+pysqlite:////w/a.db?x=1"),
        ("sqlite:////b/a.db", "sqlite:////b/a.db"),
        ("./mlruns", "file:///w/mlruns"),
        ("file:mlruns", "file:///w/mlruns"),
        ("file:///b", "file:///b"),
        ("http://host:5000", "http://host:5000"),
        ("postgresql://u:p@h/d", "postgresql://u:p@h/d"),
        ("databricks", "databricks"),
        ("databricks://profile", "databricks://profile"),
    ],
)
def test_tracking_uris_mean_the_same_everywhere(uri: str, absolute: str) -> None:
    assert absolute_uri(uri, Path("/w")) == absolute


def test_a_deleted_run_folder_is_told_at_once(store: Any, kit: Any, tmp_path: Path) -> None:
    train = kit.write_training(
        tmp_path / "job.py",
        """
import shutil
while ctx.output_dir.exists():  # its companion may just be writing into it
    shutil.rmtree(ctx.output_dir, ignore_errors=True)
ctx.tracker.log_metric("loss", 1.0)
return 1.0
""",
    )
    done = kit.explr(train)
    assert done.returncode != 0
    assert str(tmp_path / "outputs") in done.stderr
    kit.eventually(lambda: not entries())
    assert all(run.info.status == "KILLED" for run in store.runs())


def test_closing_lines(store: Any, kit: Any, tmp_path: Path) -> None:
    run = kit.begin(tmp_path / "ein Lauf")
    run.close("FINISHED")
    line = closing_line(run, wait=False)
    assert "MLflow has not caught up with 1 run: the upload process has ended" in line
    assert f"`explr sync '{tmp_path}/ein Lauf'` resumes it" in line
    kit.ship()
    assert closing_line(run) == f"MLflow: run {store.run().info.run_id} in {store.uri}"
    run.journal.path.unlink()
    assert "was deleted while it went on" in closing_line(run)


def test_a_run_that_cannot_be_begun_leaves_nothing(
    kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("EXPLR_HOME", str(tmp_path / "file"))
    with pytest.raises(TrackingError, match="set EXPLR_HOME"):
        kit.begin(tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []


def test_the_end_is_recorded_once(kit: Any, tmp_path: Path) -> None:
    run = kit.begin(tmp_path / "run")
    run.close("FINISHED")
    run.close("FAILED")
    ends = [r.event["status"] for r in read_events(run.journal.path) if r.event["k"] == "end"]
    assert ends == ["FINISHED"]


def test_a_failure_is_not_hidden_by_a_journal_that_is_gone(kit: Any, tmp_path: Path) -> None:
    run = kit.begin(tmp_path / "run")
    other = kit.begin(tmp_path / "other")
    run.journal.path.unlink()
    other.journal.path.unlink()
    run.close("FAILED")
    with pytest.raises(TrackingError, match="deleted"):
        other.close("FINISHED")
