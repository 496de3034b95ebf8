import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra_spelling import spelled
from zygote import zygote

from explr.config.hydra_versions import HAS_WHITELIST
from explr.tracking.journal.pending import entries

APP = spelled("""
import os, sys, time
import hydra

@hydra.main(config_path="conf", config_name="config")
def app(cfg):
    if cfg.a == 13:
        raise RuntimeError("unlucky")
    if cfg.a == 99:
        sys.exit(cfg.a)
    if cfg.a == 77:
        open(cfg.ready, "w").close()
        time.sleep(600)
    return cfg.a / 2

app()
""")
CONFIG = "a: 1\nready: ready\nnested:\n  path: ${oc.env:HOME}\n  size: 3\n"
CALLBACK = ["hydra/callbacks=explr_mlflow"]
WAIT = "hydra.callbacks.explr_mlflow.drain_timeout_s=200"

pytestmark = pytest.mark.slow


@pytest.fixture
def app(tmp_path: Path) -> Path:
    folder = tmp_path / "foreign"
    (folder / "conf").mkdir(parents=True)
    (folder / "conf" / "config.yaml").write_text(CONFIG)
    (folder / "app.py").write_text(APP)
    return folder / "app.py"


BROKEN = """
from hydra.experimental.callback import Callback

class Broken(Callback):
    def _fail(self, *args, **kwargs):
        raise RuntimeError("a hook of somebody's own")

    on_run_start = on_run_end = on_multirun_start = on_multirun_end = _fail
    on_job_start = on_job_end = on_compose_config = _fail
"""


def run_app(app: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(app), *arguments, *CALLBACK]  # Hydra 1.3 wants flags first
    return zygote.run(command, Path.cwd(), {**os.environ, **environment}, 280)


def test_a_foreign_app_is_mirrored(store: Any, app: Path) -> None:
    done = subprocess.run(  # by a fresh interpreter, as users have it
        [sys.executable, str(app), *CALLBACK, "a=4", WAIT],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MLFLOW_RUN_ID": "0" * 32},
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    run = store.run()
    assert f"MLflow: run {run.info.run_id}" in done.stdout
    assert run.info.status == "FINISHED"
    assert run.data.params == {
        "a": "4",
        "ready": "ready",
        "nested.path": "${oc.env:HOME}",
        "nested.size": "3",
    }
    assert run.data.metrics == {"objective": 2.0}
    sizes = store.artifacts(run)
    files = {".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml", "app.log"}
    assert set(sizes) == files | {"origin/requirements.txt"}
    assert store.client.get_experiment(run.info.experiment_id).name == "app"


def test_a_foreign_sweep_is_a_parent_with_children(store: Any, app: Path) -> None:
    """Also with another callback that raises whenever it is called."""
    (app.parent / "broken.py").write_text(BROKEN)
    broken = "+hydra.callbacks.broken._target_=broken.Broken"
    done = run_app(app, "-m", "a=1,2", WAIT, broken, MLFLOW_RUN_ID="0" * 32)
    assert done.returncode == 0, done.stderr
    for hook in ("on_multirun_start", "on_job_start", "on_job_end", "on_multirun_end"):
        assert (
            f"Callback Broken.{hook} raised RuntimeError: a hook of somebody's own" in done.stderr
        )
    runs = store.runs()
    (parent,) = [r for r in runs if r.data.tags["explr.kind"] == "sweep"]
    children = [r for r in runs if r.info.run_id != parent.info.run_id]
    assert [r.data.params["a"] for r in children] == ["1", "2"]
    assert {r.data.tags["mlflow.parentRunId"] for r in children} == {parent.info.run_id}
    assert {r.info.status for r in runs} == {"FINISHED"}
    assert "multirun.yaml" in store.artifacts(parent)
    for child in children:
        assert {".hydra/config.yaml", "app.log"} <= set(store.artifacts(child))
    assert entries() == []


def test_a_foreign_app_or_job_that_raises_or_exits_with_a_code_is_failed(
    store: Any, kit: Any, app: Path
) -> None:
    raised = run_app(app, "a=13", "hydra.run.dir=raises", WAIT)
    assert raised.returncode == 1
    assert "unlucky" in raised.stderr
    assert run_app(app, "a=99", "hydra.run.dir=exits", WAIT).returncode == 99
    assert run_app(app, "-m", "a=1,13", "hydra.sweep.dir=sweep", WAIT).returncode == 1
    kit.eventually(lambda: not entries())
    assert {r.info.run_name: r.info.status for r in store.runs()} == {
        "raises": "FAILED",
        "exits": "FAILED" if HAS_WHITELIST else "KILLED",  # Hydra 1.3 tells of no such end
        "sweep": "FAILED",
        "0": "FINISHED",
        "1": "FAILED",
    }


def test_a_foreign_app_that_is_interrupted_is_killed(
    store: Any, kit: Any, app: Path, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, str(app), "-m", "a=77", *CALLBACK],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with process:
        kit.eventually((tmp_path / "ready").exists)
        process.send_signal(signal.SIGINT)
        process.wait(kit.patience_s)
    kit.eventually(lambda: not entries())
    assert len(store.runs()) == 2
    assert {r.info.status for r in store.runs()} == {"KILLED"}


def test_a_home_that_cannot_be_written_costs_a_foreign_app_nothing_but_a_line(
    app: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    done = run_app(app, "a=4", EXPLR_HOME=str(tmp_path / "file"))
    assert done.returncode == 0
    assert done.stderr.count("set EXPLR_HOME to a folder that can be written") == 1
    assert "Traceback" not in done.stderr


def test_explrs_own_sweep_has_children_below_its_run(store: Any, kit: Any, tmp_path: Path) -> None:
    train = kit.write_training(
        tmp_path / "job.py",
        """
lr = ctx.hyperparameters["lr"]
for i in range(3):
    ctx.tracker.log_metric("loss", lr * i, step=i)
return lr
""",
    )
    done = kit.explr("-m", train, "lr=0.1,0.2", "tracking.drain_timeout_s=200")
    assert done.returncode == 0, done.stderr
    runs = store.runs()
    (parent,) = [r for r in runs if r.data.tags["explr.kind"] == "sweep"]
    children = [r for r in runs if r.data.tags["explr.kind"] == "trial"]
    assert [(r.data.params["lr"], r.data.metrics["objective"]) for r in children] == [
        ("0.1", 0.1),
        ("0.2", 0.2),
    ]
    assert {r.data.tags["mlflow.parentRunId"] for r in children} == {parent.info.run_id}
    assert {r.info.status for r in runs} == {"FINISHED"}
    assert not any({"epochs", "width"} & r.data.params.keys() for r in runs)  # nobody's
    for child in children:
        lr = float(child.data.params["lr"])
        assert store.rows(child, "loss") == [(i, lr * i) for i in range(3)]
    assert f"MLflow: run {parent.info.run_id}" in done.stdout + done.stderr


def test_explrs_own_sweep_keeps_the_failure_of_a_job(store: Any, kit: Any, tmp_path: Path) -> None:
    train = kit.write_training(
        tmp_path / "job.py", "assert ctx.hyperparameters['lr'] < 1, 'too fast'\nreturn 1.0"
    )
    done = kit.explr("-m", train, "lr=0.1,2", "tracking.drain_timeout_s=200")
    assert done.returncode == 1, done.stderr
    kit.eventually(lambda: not entries())
    status = {r.info.run_name: r.info.status for r in store.runs()}
    assert (status.pop("0"), status.pop("1")) == ("FINISHED", "FAILED")
    (sweep,) = status.values()
    assert sweep in ("FINISHED", "FAILED")  # as its end says, which may come trials later


def test_explrs_own_sweep_is_killed_by_an_interrupt(store: Any, kit: Any, tmp_path: Path) -> None:
    train = kit.write_training(
        tmp_path / "job.py", f"open({str(tmp_path / 'ready')!r}, 'w').close()\ntime.sleep(600)"
    )
    process = kit.start("-m", train, "lr=0.1,2")
    with process:
        kit.eventually((tmp_path / "ready").exists)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=kit.patience_s)
    assert process.returncode == 130, output
    kit.eventually(lambda: not entries())
    assert len(store.runs()) == 2
    assert {r.info.status for r in store.runs()} == {"KILLED"}
