"""The command to train the best trial again: how an app was called, and run in a shell."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra_spelling import spelled
from omegaconf import OmegaConf

from explr.results.retrain import again_of, retrain_command

pytestmark = pytest.mark.slow

APP = spelled("""\
import sys

import hydra

own = [word for word in sys.argv if word.startswith("--scale=")]
sys.argv = [word for word in sys.argv if word not in own]


@hydra.main(config_path="conf", config_name="config")
def main(cfg):
    value = cfg.lr + cfg.wd + len(cfg.name) + float(own[0][8:] if own else 0)
    print("VALUE", value)
    return value


if __name__ == "__main__":
    main()
""")

SCRIPT = f"""\
#!{sys.executable}
import sys

sys.path.insert(0, "src")
from pkg.train import main

main()
"""

FILES = {
    "src/pkg/__init__.py": "",
    "src/pkg/train.py": APP,
    "src/pkg/conf/__init__.py": "",
    "src/pkg/conf/config.yaml": "lr: 0.1\nwd: 0.5\nname: none\n",
    "src/pkg/other conf/config.yaml": "lr: 0.1\nwd: 100\nname: none\n",
    "more/other.yaml": "defaults: [config, _self_]\nwd: 7\n"
    "hydra: {mode: MULTIRUN, sweeper: {params: {wd: 'interval(5,6)', +new: 3}}}\n",
    "bin/pkg-train": SCRIPT,
}

NAME = shlex.quote("name='it''s $HOME, \"x\"'".replace("''", "\\'"))

CALLS = {
    "script": (
        f"python -u src/pkg/train.py --config-path 'other conf' -m lr='interval(0,1)' {NAME} "
        "--scale=1000",
        f"-u src/pkg/train.py --config-path 'other conf' lr=VALUE {NAME} --scale=1000",
    ),
    "module": (
        "PYTHONPATH=src python -m pkg.train -cd more --config-name=other 'lr=interval(0,1)'",
        "-m pkg.train -cd more --config-name=other wd=VALUE +new=3 lr=VALUE "
        "hydra/sweeper=explr_optuna hydra.mode=RUN",
    ),
    "console script": (
        "pkg-train --multirun 'lr=interval(0,1)' hydra.job.chdir=true wd=2",
        "lr=VALUE hydra.job.chdir=true wd=2",
    ),
}


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an app that can be called in three ways."""
    folder = tmp_path / "my app"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "bin/pkg-train").chmod(0o755)
    path = f"{folder}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"
    monkeypatch.setenv("PATH", path)
    return folder


def shell(command: str, cwd: Path) -> str:
    done = subprocess.run(command, shell=True, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", CALLS)
def test_a_shell_trains_the_best_trial_again(
    explr: Any, app: Path, tmp_path: Path, kind: str
) -> None:
    call, expected = CALLS[kind]
    search = "hydra/sweeper=explr_optuna hydra.sweeper.n_trials=2 hydra.sweep.dir=out"
    swept = shell(f"{call} {search}", app)
    best = explr("best", str(app / "out"))
    assert (best.returncode, best.stderr) == (0, "")
    (again,) = re.findall(r"^to train it again: (.*)$", best.stdout, re.MULTILINE)
    folder, _, command = again.partition(" && ")
    assert folder == f"cd {shlex.quote(str(app))}"
    assert f"to train it again: {command}\n" in swept
    program = "pkg-train" if kind == "console script" else "python"
    assert re.sub(r"=\d\.\d+", "=VALUE", command) == f"{program} {expected}"

    value = OmegaConf.load(app / "out/optimization_results.yaml").best_value
    variables = "PYTHONPATH=src; export PYTHONPATH; " if kind == "module" else ""
    assert f"VALUE {value}\n" in shell(f"{variables}{again}", tmp_path)

    resumed = explr("resume", str(app / "out"), PYTHONPATH=f"{app}/src")
    assert (resumed.returncode, "to train it again: " in resumed.stdout) == (0, True)
    page = (app / "out/report.html").read_text()
    assert f"<pre>{program} " in page
    assert "<p>To train it again:</p><pre>" in page


SWEEP: list[tuple[str, str, str]] = [
    ("-m lr=1,2 lr=3,4 +x=a ~y", "lr=4 +x=a ~y", "lr=4 +x=a ~y"),
    ("-m lr=1,2 gpu=b", "lr=1 gpu=b ++gpu.memory_limit_gb=2.0 ++seed=3", "lr=1 gpu=b"),
    ("-m +opt={lr:1},{lr:2} opt={a:1}", "+opt={lr:2} opt={a:1}", "+opt={lr:2} opt={a:1}"),
    ("--tag a lr=1,2 -m x=y", "lr=2 added=1", "--tag a lr=2 x=y"),
]


@pytest.mark.parametrize(("line", "trial", "expected"), SWEEP)
def test_values_take_the_place_of_ranges(line: str, trial: str, expected: str) -> None:
    choices = {"hydra": {"runtime": {"choices": {}}, "overrides": {"task": ["added=1"]}}}
    config = OmegaConf.create(choices)
    assert again_of(line.split(), trial.split(), {"lr", "opt"}, config) == expected.split()


def test_of_a_sweep_that_began_in_python(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text('{"study": "s", "cwd": "/"}')
    task = ["tuner=optuna", "lr=1,2", "gpu=cpu"]
    hydra = {"runtime": {"choices": {"explr/schema@tuner": "x"}}, "overrides": {"task": task}}
    OmegaConf.save(OmegaConf.create({"hydra": hydra}), tmp_path / "multirun.yaml")
    again = retrain_command(tmp_path, tmp_path / "0", {"lr": 2})
    assert again == "explr.run(explr.compose(['lr=2', 'gpu=cpu']), train_model)"
