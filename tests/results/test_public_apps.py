"""Apps in the shapes of public ones that return nothing, from a grid to the training again."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from hydra_spelling import REGISTER

from explr.results.report.write import write_report
from explr.results.run import read_run

if TYPE_CHECKING:
    from conftest import Command

pytestmark = pytest.mark.slow

TRAINING = """\
import os, signal
from pathlib import Path

import explr

ROOT = Path(__file__).parent


def train(cfg, number):
    if number == 1 and (ROOT / "unlucky").exists():
        (ROOT / "unlucky").unlink()
        os.kill(int((ROOT / "controller").read_text()), signal.SIGKILL)
    for step in range(cfg.steps):
        loss = abs(cfg.optim.lr - 0.3) + cfg.steps - step
        explr.report(step, loss=loss)
    print("VALUE", loss, flush=True)
"""

END = """

if __name__ == "__main__":
    from training import ROOT
    (ROOT / "controller").write_text(str(os.getpid()))
    main()
"""

NUMBER = """\
    from hydra.core.hydra_config import HydraConfig
    number = HydraConfig.get().job.get("num")
"""

RUNNER = f"""\
import functools, os

from hydra._internal.utils import _run_hydra, get_args_parser
from omegaconf import OmegaConf

OmegaConf.{REGISTER}("add", lambda x, y: x + y)


def runner(config_path, config_name):
    def decorator(task):
        @functools.wraps(task)
        def wrapper():
            parser = get_args_parser()
            args = parser.parse_args()
            args.overrides += ["hydra.output_subdir=null", "hydra/job_logging=stdout"]
            args.overrides += ["hydra.run.dir=."]
            args.parse_args = lambda args=None, namespace=None: args_of_call
            args_of_call = args
            _run_hydra(
                args=args, args_parser=parser, task_function=task,
                config_path=config_path, config_name=config_name,
            )
        return wrapper
    return decorator


@runner(config_path="conf", config_name="small")
def main(cfg):
{NUMBER}
    from training import train
    train(cfg, number)
{END}"""

AGENT = f"""\
import os

import hydra


class Workspace:
    def __init__(self, cfg):
        self.cfg = cfg

    def train(self, number):
        from training import train
        train(self.cfg, number)


@hydra.main(config_path="conf", config_name="small")
def main(cfg):
    from app import Workspace as W
{NUMBER}
    W(cfg).train(number)
{END}"""

POLICY = f"""\
import os
import sys
sys.stdout = open(sys.stdout.fileno(), mode="w", buffering=1)
sys.stderr = open(sys.stderr.fileno(), mode="w", buffering=1)

import pathlib

import hydra
from omegaconf import OmegaConf

OmegaConf.{REGISTER}("eval", eval, replace=True)


@hydra.main(version_base=None, config_path=str(pathlib.Path(__file__).parent.joinpath("conf")))
def main(cfg):
    OmegaConf.resolve(cfg)
{NUMBER}
    hydra.utils.get_class(cfg._target_)(cfg).run(number)
{END}"""

WORKSPACE = """\
from training import train


class Workspace:
    def __init__(self, cfg):
        self.cfg = cfg

    def run(self, number):
        train(self.cfg, number)
"""

SETTINGS = "optim: {lr: 0.1}\n"
SHAPES = {
    "runner": (RUNNER, f"{SETTINGS}base: 2\nsteps: ${{add:${{base}},1}}\n", []),
    "agent": (
        AGENT,
        f"""\
defaults:
  - override hydra/launcher: explr_local
  - _self_
{SETTINGS}steps: 3
hydra:
  sweep: {{dir: './exp/${{now:%Y.%m.%d}}_${{hydra.job.name}}', subdir: '${{hydra.job.num}}'}}
  launcher:
    timeout_min: 4300
    submitit_folder: ./exp/${{now:%H%M%S}}/.slurm
""",
        [],
    ),
    "policy": (
        POLICY,
        f"""\
_target_: workspace.Workspace
name: small
{SETTINGS}steps: "${{eval:'1+2'}}"
run_name: ${{now:%H.%M.%S}}_${{name}}
hydra:
  job: {{override_dirname: '${{name}}'}}
  run: {{dir: 'data/outputs/${{now:%H.%M.%S}}_${{name}}'}}
""",
        ["--config-name=small"],
    ),
}
"""The script, its config, and what stands on its command line."""

DIR = "hydra.sweep.dir=${oc.env:OUT,out}_${now:%Y}"
"""Resolvers on the command line are left to the config."""

PRUNER = [
    "hydra.sweeper.pruner._target_=optuna.pruners.PercentilePruner",
    "+hydra.sweeper.pruner.percentile=1.0",
    "+hydra.sweeper.pruner.n_startup_trials=1",
]


@pytest.mark.parametrize("shape", SHAPES)
def test_from_a_grid_to_the_training_again(explr: Command, shape: str) -> None:
    script, config, flags = SHAPES[shape]
    folder = explr.cwd
    files = {"app.py": script, "training.py": TRAINING, "workspace.py": WORKSPACE}
    files |= {"conf/small.yaml": config, "unlucky": ""}
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    line = ["app.py", *flags, "-m"]

    (folder / "unlucky").unlink()
    tracked = ["hydra/callbacks=explr_mlflow", "hydra.callbacks.explr_mlflow.drain_timeout_s=0"]
    local = ["hydra/launcher=explr_local", "hydra.launcher.n_jobs=2"] if shape != "policy" else []
    done = explr.script(*line, *tracked, *local, "hydra.sweep.dir=grid", "optim.lr=0.1,0.2")
    assert done.returncode == 0, done.stderr
    for job, lr in enumerate((0.1, 0.2)):
        run = read_run(str(folder / "grid" / str(job)), with_curves=False)
        assert (run.state, run.params["optim.lr"]) == ("FINISHED", str(lr))
        assert run.metrics["objective"] == pytest.approx(0.3 - lr + 1)

    (folder / "unlucky").touch()
    search = ["hydra/sweeper=explr_optuna", "hydra.sweeper.n_trials=6", DIR]
    killed = explr.script(*line, *search, *PRUNER, "optim.lr=interval(0.0,1.0)")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (out,) = folder.glob("out_*")
    resumed = explr("resume", str(out))
    assert resumed.returncode == 0, resumed.stderr
    results = json.loads((out / "results.json").read_text())
    trials = {trial["number"]: trial for trial in results["trials"]}
    assert [trials[number]["attempts"] for number in (0, 1)] == [1, 2]
    assert {trial["state"] for trial in trials.values()} <= {"COMPLETE", "PRUNED"}
    value = min(trial["value"] for trial in trials.values() if trial["state"] == "COMPLETE")
    assert results["best"]["value"] == value

    best = explr("best", str(out))
    assert best.returncode == 0, best.stderr
    (again,) = re.findall(r"^to train it again: (.*)$", best.stdout, re.MULTILINE)
    trained = subprocess.run(
        again, shell=True, cwd=folder, capture_output=True, text=True, check=False
    )
    said = trained.stdout.split()[-2:]
    assert said == ["VALUE", str(value)], trained.stderr + again
    compared = explr("compare", f"best:{out}", "best:grid", "grid/0")
    assert (compared.returncode, "optim.lr" in compared.stdout) == (0, True), compared.stderr
    assert f"{value:.4g}" in write_report(out, charts=False).read_text()
