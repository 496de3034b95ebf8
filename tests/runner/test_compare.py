"""Runs side by side, wherever they are recorded."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from zygote import zygote

from explr.core.errors import UsageError
from explr.results.run import RunView, differing, read_run
from explr.runner.cli.compare import draw
from explr.tracking.journal.journal import Journal

TRAINING = """\
import explr


def train(ctx):
    lr = ctx.hyperparameters["lr"]
    for step in range(3):
        ctx.report(step, val_loss=lr / (step + 1))
    return explr.TrainingResult(lr / 3, metrics={"cost": 2.0})
"""


def journal(folder: Path, *events: dict[str, Any]) -> None:
    folder.mkdir(exist_ok=True)
    written = Journal.create(folder)
    for time, event in enumerate(events):
        written.write({"t": 1000 * len([*folder.glob("journal-*")]) + time, **event})
    written.close()


@pytest.mark.parametrize("own", [True, False])
def test_a_journal(tmp_path: Path, own: bool) -> None:
    kind = {"explr.framework": "none"} if own else {}
    journal(
        tmp_path,
        {"k": "start", "after": None, "run": "a", "g": {"explr.kind": "run"} | kind},
        {"k": "params", "p": {"lr": "0.5", "tuner.n_trials": "9"}},
        {"k": "metrics", "m": {"loss": 2.0, "system/cpu": 1.0}, "s": 1},
        {"k": "metrics", "m": {"loss": 3.0}, "s": 0},
        {"k": "metrics", "m": {"final": 1.0}, "s": None},
        {"k": "end", "status": "KILLED"},
    )
    run = read_run(str(tmp_path), with_curves=True)
    assert run == RunView(
        str(tmp_path),
        "KILLED",
        {"lr": "0.5"} if own else {"lr": "0.5", "tuner.n_trials": "9"},  # of an app's own tuner
        {"loss": 3.0, "final": 1.0},
        {"loss": [(0, 3.0), (1, 2.0)]},
        is_foreign=not own,
    )


def test_attempts_of_one_run_are_one_run_and_another_run_is_not(tmp_path: Path) -> None:
    start = {"k": "start", "after": None, "run": "a"}
    journal(tmp_path, start, {"k": "metrics", "m": {"old": 1.0}, "s": 0})
    journal(tmp_path, start, {"k": "metrics", "m": {"loss": 1.0}, "s": 0})
    again = {"k": "start", "after": "journal-x.jsonl", "run": "a"}
    journal(tmp_path, again, {"k": "metrics", "m": {"loss": 2.0}, "s": 1})
    run = read_run(str(tmp_path), with_curves=True)
    assert run.curves == {"loss": [(0, 1.0), (1, 2.0)]}
    assert run.metrics == {"loss": 2.0}
    assert run.state == "RUNNING"


def test_what_differs() -> None:
    runs = [RunView("a", params={"x": "1", "y": "2"}), RunView("b", params={"x": "1", "z": "3"})]
    assert differing(runs) == ["y", "z"]
    assert differing(runs[:1]) == []


@pytest.mark.slow
def test_a_picture_of_curves(tmp_path: Path) -> None:
    curves = {"a$b$_{": [(0, 1.0), (1, 0.5)], "nan": [(0, float("nan")), (1, 2.0)]}
    runs = [
        RunView("$run_{", curves=curves),
        RunView("_other", curves={"third": [(0, 1.0), (2, 3.0)]}),
    ]
    draw(runs, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UsageError, match=r"curves\.xyz cannot be written"):
        draw(runs, tmp_path / "curves.xyz")
    with pytest.raises(UsageError, match="cannot be written: No such file"):
        draw(runs, tmp_path / "nowhere" / "curves.png")
    with pytest.raises(UsageError, match="there are no curves to plot"):
        draw([RunView("a", curves={"once": [(0, 1.0)]})], tmp_path / "curves.png")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nonsense", "nonsense is no run: name a folder"),
        ("best:nowhere", "best:nowhere: there is no folder nowhere"),
        ("empty", "empty is no run: it has neither a journal nor a result.json"),
        ("sweep", "sweep is a sweep: name one of its trials, or best:sweep"),
    ],
)
def test_what_is_no_run(tmp_path: Path, explr: Any, name: str, said: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "results.json").write_text("{}")
    done = explr("compare", name)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory, template: Path) -> Path:
    """A sweep that is in MLflow, and a run that is not."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "job.py").write_text(TRAINING)
    (folder / "home").mkdir(mode=0o700)
    shutil.copyfile(template, folder / "home" / "mlflow.db")
    sweep = ["tuner=optuna", "-m", "lr=choice(0.5,0.25)", "tuner/sampler=grid", "tuner.n_trials=2"]
    sweep += ["tuner.study_name=s", "tracking.drain_timeout_s=600", "train_model=job:train"]
    alone = ["lr=0.75", "tracking=off", "hydra.run.dir=alone", "train_model=job:train"]
    for line in (sweep, alone):
        command = [sys.executable, "-m", "explr", *line]
        done = zygote.run(command, folder, {**os.environ, "EXPLR_HOME": str(folder / "home")}, 700)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_folders_the_best_and_a_run_in_mlflow(workshop: Path, explr: Any) -> None:
    trials = json.loads((workshop / "multirun/s/results.json").read_text())["trials"]
    (second,) = (trial for trial in trials if trial["params"]["lr"] == 0.25)
    ids = sorted(workshop.glob(f"multirun/s/{second['number']}/journal-*.position"))
    run_id = json.loads(ids[0].read_text())["run_id"]
    runs = ("alone", "best:multirun/s", f"multirun/s/{1 - second['number']}", run_id)
    home = {"EXPLR_HOME": str(workshop / "home")}
    done = explr("compare", *runs, "--json", "--png", "curves.png", cwd=workshop, **home)
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert content["differing"] == ["lr"]
    assert [run["params"]["lr"] for run in content["runs"]] == ["0.75", "0.25", "0.5", "0.25"]
    assert [run["metrics"]["val_loss"] for run in content["runs"]] == pytest.approx(
        [0.75 / 3, 0.25 / 3, 0.5 / 3, 0.25 / 3]
    )
    assert {run["metrics"]["cost"] for run in content["runs"]} == {2.0}
    states = [run["state"] for run in content["runs"]]
    assert states == ["COMPLETE", "COMPLETE", "COMPLETE", "FINISHED"]
    assert (workshop / "curves.png").read_bytes().startswith(b"\x89PNG")
    run = read_run(str(workshop / "multirun/s" / str(second["number"])), True)
    assert run.curves["val_loss"] == [(step, 0.25 / (step + 1)) for step in range(3)]

    shown = explr("compare", *runs[:2], cwd=workshop, **home)
    assert shown.returncode == 0, shown.stderr
    lines = {
        line.split()[0]: line.split()[1:] for line in shown.stdout.splitlines() if line.split()
    }
    assert lines["lr"] == ["0.75", "0.25"]
    assert lines["val_loss"] == ["0.25", "0.08333"]
    assert "epochs" not in lines
    assert "\x1b" not in shown.stdout


@pytest.mark.slow
def test_an_id_that_mlflow_does_not_know(workshop: Path, explr: Any) -> None:
    done = explr("compare", "0" * 32, EXPLR_HOME=str(workshop / "home"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"there is no run {'0' * 32} in sqlite:")
