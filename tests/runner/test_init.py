"""A new project, used as whoever began it would."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from explr.runner.cli.init import init_project

FILES = {
    "train.py",
    "test_train.py",
    "conf/search_space/moons.yaml",
    "conf/experiment/moons.yaml",
    "README.md",
    ".gitignore",
}


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_what_it_writes(explr: Any, tmp_path: Path) -> None:
    done = explr("init", "sub/with space: 'odd'")
    assert (done.returncode, done.stderr) == (0, "")
    project = tmp_path / "sub" / "with space: 'odd'"
    assert files_in(project) == FILES
    recipe = yaml.safe_load((project / "conf/experiment/moons.yaml").read_text())
    assert recipe["experiment_name"] == project.name
    for name in FILES:
        assert "{" + "name}" not in (project / name).read_text()
    line = next(one for one in done.stdout.splitlines() if one.startswith("to train: "))
    assert line.startswith("to train: cd 'sub/with space:")


def test_it_writes_nothing_over(explr: Any, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("mine")
    done = explr("init")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(". already has train.py, and explr init overwrites nothing")
    assert done.stderr.count("\n") == 1
    assert files_in(tmp_path) == {"train.py"}


def test_it_begins_with_pytorch_if_that_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, found in {"pytorch": "torch", "numpy": None}.items():
        monkeypatch.setattr("explr.runner.cli.init.find_spec", lambda _, found=found: found)
        init_project(tmp_path / name)
        assert ("import torch" in (tmp_path / name / "train.py").read_text()) is bool(found)


def test_where_it_cannot_write(explr: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert explr("init", "file").returncode == 2
    done = explr("init", "file/below")
    assert done.returncode == 2
    assert "cannot be written: Not a directory" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["numpy", "pytorch"])
def test_everything_runs_at_once(explr: Any, tmp_path: Path, framework: str) -> None:
    if framework == "pytorch":
        pytest.importorskip("torch")
    assert explr("init", "mine", "--framework", framework).returncode == 0
    project = tmp_path / "mine"

    if framework == "numpy":  # both have the same configs and the same test, which trains
        _train_and_sweep(explr, project)

    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert tested.returncode == 0, tested.stdout
    assert "1 passed" in tested.stdout


def _train_and_sweep(explr: Any, project: Path) -> None:
    trained = explr.script(
        "train.py", "epochs=20", "tracking=off", "hydra.run.dir=once", cwd=project
    )
    assert trained.returncode == 0, trained.stderr
    once = json.loads((project / "once" / "result.json").read_text())
    assert once["params"] == {"lr": 0.5, "width": 16, "epochs": 20}

    same = ("experiment=moons", "epochs=20", "tracking=off", "hydra.run.dir=again")
    assert explr(*same, cwd=project).returncode == 0
    assert json.loads((project / "again" / "result.json").read_text())["value"] == once["value"]

    sweep = ("tuner=optuna", "-m", "tuner.n_trials=3", "tuner.study_name=s", "tracking=off")
    swept = explr.script("train.py", "epochs=10", *sweep, cwd=project)
    assert swept.returncode == 0, swept.stderr
    trials = json.loads((project / "multirun/s/results.json").read_text())["trials"]
    assert [set(trial["params"]) for trial in trials] == [{"lr", "width"}] * 3
    assert (project / "multirun/s/report.html").exists()
