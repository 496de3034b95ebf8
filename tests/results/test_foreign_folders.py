"""Folders of sweeps and grids of apps that are not explr's, whatever their patterns are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus
from hydra_spelling import spelled

from explr.core.errors import UsageError
from explr.core.folders import JOB
from explr.launching.job_record import record_job
from explr.results.best import best_in
from explr.results.report.write import write_report
from explr.results.run import read_run
from explr.results.sweep import read_sweep, storage_in

APP = spelled("""\
import sys
from pathlib import Path

import hydra

import explr

sys.argv += [{appended}]


@hydra.main(config_path=".", config_name="config")
def main(cfg):
    folder = Path(cfg.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("result.json", "results.json", "model.txt"):  # the app's own
        (folder / name).write_text("[]")
    for step in range(2):
        explr.report(step, loss=cfg.opt.lr / (step + 1))
    return (cfg.opt.lr - 0.25) ** 2


main()
""")

OUTPUT = "output_dir: ${hydra:runtime.output_dir}\n"
SHAPES = {
    "template": OUTPUT
    + """\
task_name: train
hydra:
  run: {dir: 'logs/${task_name}/runs/${now:%H-%M-%S}'}
  sweep: {dir: 'logs/${task_name}/multiruns/${now:%H-%M-%S}', subdir: '${hydra.job.num}'}
""",
    "runner": OUTPUT,
    "experiment": OUTPUT
    + "hydra: {sweep: {dir: 'exp/${now:%Y.%m.%d}/${now:%H%M}', subdir: 'lr_${opt.lr}'}}\n",
    "run_dir": """\
output_dir: ${hydra:run.dir}
hydra:
  run: {dir: 'out/${now:%H-%M-%S}/${hydra.job.override_dirname}'}
  sweep: {dir: '${hydra.run.dir}', subdir: './'}
""",
}
"""Configs in the shapes of public apps: where their runs and sweeps are written."""


@pytest.fixture(params=SHAPES)
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An app that writes files of its own, some of them named like explr's."""
    (tmp_path / "config.yaml").write_text("opt: {lr: 0.1}\ntuner: mine\n" + SHAPES[request.param])
    no_files = '"hydra.output_subdir=null", "hydra.run.dir=."' if request.param == "runner" else ""
    (tmp_path / "app.py").write_text(APP.replace("{appended}", no_files))
    return tmp_path


def folder_with(app: Path, name: str) -> Path:
    """The folder that holds those of the jobs that have a file."""
    jobs = {file.parent.parent for file in app.rglob(name)}
    (folder,) = jobs
    return folder


@pytest.mark.slow
def test_a_grid_of_any_shape(explr: Any, app: Path) -> None:
    done = explr.script("app.py", "-m", "hydra/launcher=explr_local", "opt.lr=0.75,0.5,0.25")
    assert done.returncode == 0, done.stderr
    folder = folder_with(app, JOB)
    best = best_in(folder)
    assert (best.number, best.trials, best.value, best.params) == (2, 3, 0, {"opt.lr": 0.25})
    assert "the largest is 0.25 in" in best.note
    shown = explr("best", str(folder))
    assert shown.stdout.startswith("trial 2 of 3: objective 0\nnothing says whether larger"), shown
    assert "opt.lr=0.25" in shown.stdout.splitlines()[-1]
    run = read_run(f"best:{folder}", with_curves=True)
    assert (run.state, run.params["opt.lr"], run.metrics) == ("COMPLETE", "0.25", {"objective": 0})
    assert (
        len(write_report(folder, charts=False).read_text().split("<h2>Trials")[1].split("<tr")) == 5
    )
    (study,) = storage_in(folder).get_all_studies()
    assert study.study_name == folder.resolve().name
    refused = explr("resume", str(folder))
    assert refused.returncode == 2
    assert "is a grid, which cannot be resumed" in refused.stderr


@pytest.mark.slow
def test_a_sweep_of_any_shape(explr: Any, app: Path) -> None:
    line = ["-m", "hydra/sweeper=explr_optuna", "opt.lr=choice(0.5,0.25)"]
    line[3:] = ["hydra.sweeper.n_trials=2", "hydra.sweeper.replicates=2"]
    done = explr.script("app.py", *line)
    assert done.returncode == 0, done.stderr
    (results,) = [
        file for file in app.rglob("results.json") if (file.parent / "sweep.json").exists()
    ]
    sweep = results.parent
    assert {file.parent for file in app.rglob("model.txt")} == {
        sweep / str(trial) / str(replicate) for trial in range(2) for replicate in range(2)
    }
    best = best_in(sweep)
    value = (best.params["opt.lr"] - 0.25) ** 2
    assert best.value == value
    for name in (f"best:{sweep}", str(sweep / str(best.number)), str(best.folder)):
        run = read_run(name, with_curves=True)
        assert (run.state, run.metrics["objective"]) == ("COMPLETE", value), name
        lr = best.params["opt.lr"]
        assert run.curves == {"objective": [(0, lr), (1, lr / 2)]}, name
    again = explr("resume", "--last")
    assert again.returncode == 0, again.stderr
    assert "2 trials: 2 complete" in again.stdout
    assert [trial.state for trial in read_sweep(sweep).trials] == ["COMPLETE"] * 2
    refused = explr("best", str(sweep), "--out", "found.yaml")
    assert refused.returncode == 2
    assert "of another Hydra app" in refused.stderr


@pytest.mark.slow
def test_the_official_sweeper_finds_its_folder(explr: Any, tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="goes with Hydra 1.4")
    (tmp_path / "config.yaml").write_text(f"opt: {{lr: 0.1}}\n{SHAPES['run_dir']}")
    (tmp_path / "app.py").write_text(APP.replace("{appended}", ""))
    line = ["-m", "hydra/sweeper=optuna", "hydra/launcher=explr_local", "opt.lr=0.5,0.25"]
    line += ["hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=2"]
    done = explr.script("app.py", *line)
    assert done.returncode == 0, done.stderr
    (results,) = tmp_path.rglob("optimization_results.yaml")
    assert not {file.parent for file in tmp_path.rglob("model.txt")} & {results.parent}


@pytest.mark.slow
def test_a_grid_with_the_callback_under_hydras_own_launcher(explr: Any, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"opt: {{lr: 0.1}}\n{OUTPUT}")
    (tmp_path / "app.py").write_text(APP.replace("{appended}", ""))
    quick = "hydra.callbacks.explr_mlflow.drain_timeout_s=0"
    line = ["-m", "hydra/callbacks=explr_mlflow", quick, "opt.lr=0.5,0.25", "hydra.sweep.dir=grid"]
    done = explr.script("app.py", *line, EXPLR_HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    assert best_in(tmp_path / "grid").number == 1
    assert read_run(str(tmp_path / "grid" / "0"), with_curves=False).metrics["objective"] == 0.0625


@pytest.mark.slow
def test_a_grid_of_which_nobody_kept_anything(explr: Any, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"opt: {{lr: 0.1}}\n{OUTPUT}")
    (tmp_path / "app.py").write_text(APP.replace("{appended}", ""))
    assert explr.script("app.py", "-m", "opt.lr=1,2", "hydra.sweep.dir=grid").returncode == 0
    for command in (["best"], ["report"], ["compare", "best:grid"]):
        refused = explr(*command, *(["grid"] if len(command) == 1 else []))
        assert refused.returncode == 2, command
        assert "grid is a grid whose values nobody kept: with hydra/callbacks" in refused.stderr
        assert refused.stderr.count("\n") == 1
    assert "which cannot be resumed" in explr("resume", "grid").stderr


def record(sweep: Path, number: int, value: Any, folder: Path | None = None) -> None:
    returned = JobReturn(overrides=[f"lr={number}", "+x=a"], status=JobStatus.COMPLETED)
    if isinstance(value, Exception):
        returned.status = JobStatus.FAILED
    returned.return_value = value
    command = {"cwd": str(sweep.parent), "argv": ["app.py", "-m"]}
    record_job(sweep, folder or sweep / str(number), number, returned, 1.5, command)


@pytest.mark.parametrize(
    ("value", "state", "kept", "reason"),
    [
        (1, "COMPLETE", 1.0, ""),
        ([1, 2.5], "COMPLETE", [1.0, 2.5], ""),
        (None, "FAIL", None, "returned no value, and reported none with explr.report"),
        (True, "FAIL", None, "returned True, which is no number"),
        (float("nan"), "FAIL", None, "returned nan, which is no number"),
        (ValueError("no luck"), "FAIL", None, "ValueError: no luck"),
    ],
)
def test_what_is_kept_of_a_job(
    tmp_path: Path, value: Any, state: str, kept: Any, reason: str
) -> None:
    record(tmp_path, 3, value)
    content = json.loads((tmp_path / "3" / JOB).read_text())
    assert (content["state"], content["value"], content["reason"]) == (state, kept, reason)
    assert (content["params"], content["sweep"]) == ({"lr": 3, "x": "a"}, "..")


def test_a_job_that_has_written_nothing_has_failed(tmp_path: Path) -> None:
    for number in (0, 2):
        record(tmp_path, number, number)
    states = [trial.state for trial in read_sweep(tmp_path).trials]
    assert states == ["COMPLETE", "FAIL", "COMPLETE"]
    assert best_in(tmp_path).params == {"lr": 0, "x": "a"}


def test_the_direction_of_another_sweeper(tmp_path: Path) -> None:
    (tmp_path / "multirun.yaml").write_text("hydra: {sweeper: {direction: maximize}}")
    for number in range(2):
        record(tmp_path, number, number)
    best = best_in(tmp_path)
    assert (best.number, best.note) == (1, "")


def test_several_objectives_and_several_grids(tmp_path: Path) -> None:
    for number in range(2):
        record(tmp_path / "a", number, [number, -number])
    assert read_sweep(tmp_path / "a").metrics == ["objective 0", "objective 1"]
    with pytest.raises(UsageError, match="or there are several objectives"):
        best_in(tmp_path / "a")
    record(tmp_path / "b", 0, 1)
    with pytest.raises(UsageError, match="holds the jobs of 2 grids: name the folder of one"):
        best_in(tmp_path)


def test_a_grid_may_be_moved(tmp_path: Path) -> None:
    record(tmp_path / "a", 0, 1)
    (tmp_path / "a").rename(tmp_path / "b")
    assert best_in(tmp_path / "b").folder == tmp_path / "b" / "0"
