from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from waiting import PATIENCE_S, wait_until

from explr.config.hydra_versions import HAS_WHITELIST

OFF = "tracking=off"
TRAIN = "train_model=trainings:train"


def run_folder(output: str) -> str:
    (folder,) = re.findall(r"^Folder: (.*)$", output, re.MULTILINE)
    return str(folder)


def test_a_training(explr, project: Path) -> None:
    done = explr(OFF, TRAIN, "lr=0.02", "+name=new", "seed=7")
    assert done.returncode == 0
    assert done.stderr == ""
    first, result, folder = done.stdout.splitlines()
    assert first.startswith("trained with {'lr': 0.02, ")
    assert first.endswith("'name': 'new'} seed 7")
    assert re.fullmatch(r"Result: val_loss 0\.0001 in \d\.\d s", result)
    assert re.fullmatch(r"Folder: outputs/\d{4}-\d\d-\d\d/\d\d-\d\d-\d\d-\d{6}", folder)
    content = json.loads((project / run_folder(folder) / "result.json").read_text())
    assert content["state"] == "COMPLETE"
    assert content["value"] == pytest.approx(1e-4)
    assert content["params"]["name"] == "new"
    assert content["seed"] == 7
    assert sorted(p.name for p in (project / run_folder(folder)).iterdir()) == [
        ".hydra", "explr.log", "result.json", "run.json",
    ]  # fmt: skip


@pytest.mark.parametrize("command", [["-m", "explr"], [f"{Path(sys.executable).parent}/explr"]])
def test_version(explr, command: list[str]) -> None:
    if command[0] != "-m" and not Path(command[0]).exists():
        pytest.skip("the console script is not installed")
    done = explr.python(*command, "--version")
    assert re.fullmatch(r"explr \d+\.\d+\.\S+ \(Hydra 1\.[34]\.\S+\)\n", done.stdout)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_config_is_shown(explr) -> None:
    done = explr("--cfg", "job", "lr=3", "gpu=cpu")
    assert done.returncode == 0
    config = yaml.safe_load(done.stdout)
    assert (config["lr"], config["gpu"]["device"], config["search_space"]) == (3, "cpu", {})
    package = explr("--cfg", "job", "--package", "gpu", "--resolve")
    assert (
        package.stdout == "# @package gpu\ndevice: auto\nmemory_limit_gb: null\nper_trial: null\n"
    )


def test_hydra_s_own_flags(explr) -> None:
    info = explr("--info", "plugins")
    assert "ExplrSearchPath" in info.stdout
    assert "--experimental-rerun" in explr("--hydra-help").stdout


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("framework=", {"framework=pytorch", "framework=tensorflow"}),
        ("l", {"lr="}),
        ("search_space=", {"search_space=default", "search_space=digits", "search_space=mine"}),
        ("tuner/", {"tuner/sampler="}),
        ("gpu.d", {"gpu.device="}),
    ],
)
def test_tab_completion(explr, project: Path, line: str, offered: set[str]) -> None:
    (project / "conf" / "search_space").mkdir(parents=True)
    (project / "conf" / "search_space" / "mine.yaml").write_text("# @package _global_\nlr: 1\n")
    command = f"explr {line}"
    done = explr(
        "-sc", "query=bash", COMP_LINE=command, COMP_POINT=str(len(command)),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert offered <= set(done.stdout.split())


def test_a_failing_training_shows_its_own_traceback(explr, project: Path) -> None:
    done = explr(OFF, "train_model=trainings:boom", "hydra.run.dir=out", "lr=3")
    line = project.joinpath("trainings.py").read_text().splitlines().index("def boom(ctx):") + 2
    traceback = (
        "Traceback (most recent call last):\n"
        f'  File "{project}/trainings.py", line {line}, in boom\n'
        "    raise ValueError(f\"no luck with {ctx.hyperparameters['lr']}\")\n"
        "ValueError: no luck with 3\n"
    )
    assert done.returncode == 1
    assert done.stderr == traceback
    assert traceback in (project / "out" / "explr.log").read_text()
    content = json.loads((project / "out" / "result.json").read_text())
    assert (content["state"], content["reason"]) == ("FAIL", "ValueError: no luck with 3")
    assert content["value"] is content["result"] is None


def test_the_whole_traceback_of_a_failing_training(explr, project: Path) -> None:
    done = explr(OFF, "train_model=trainings:boom", "hydra.run.dir=out", HYDRA_FULL_ERROR="1")
    assert done.returncode == 1
    assert "run_training" in done.stderr
    assert done.stderr.count("Traceback") == 1
    assert "in boom" in (project / "out" / "explr.log").read_text()


def test_causes_are_shown_too(explr, project: Path) -> None:
    (project / "chain.py").write_text(
        "def f(ctx):\n"
        "    try:\n        {}['key']\n"
        "    except KeyError as error:\n        raise RuntimeError('second') from error\n"
    )
    done = explr(OFF, "train_model=chain:f")
    assert done.returncode == 1
    assert "KeyError: 'key'" in done.stderr
    assert done.stderr.endswith("RuntimeError: second\n")
    assert "hydra" not in done.stderr


def test_a_training_that_exits(explr, project: Path) -> None:
    (project / "leaving.py").write_text("def f(ctx):\n    raise SystemExit(5)\n")
    assert explr(OFF, "train_model=leaving:f").returncode == 5


def test_a_pruned_training(explr, project: Path) -> None:
    done = explr(OFF, "train_model=trainings:prune", "hydra.run.dir=out")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Pruned after" in done.stdout
    content = json.loads((project / "out" / "result.json").read_text())
    assert (content["state"], content["reason"]) == ("PRUNED", "by the training itself: no good")


def test_a_tuner_without_m_says_so_and_trains_once(explr, project: Path) -> None:
    done = explr(OFF, TRAIN, "tuner=optuna")
    assert done.returncode == 0
    assert done.stdout.count("trained with") == 1
    assert done.stdout.count("tuner=optuna tunes with -m; without it this trains once") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "sweep",
    [
        (),
        pytest.param(("-m", "lr=1,2"), marks=pytest.mark.slow),
        pytest.param(("-m", "tuner=optuna", "lr=range(1,9)"), marks=pytest.mark.slow),
    ],
)
def test_an_interruption(project: Path, number: signal.Signals, sweep: tuple[str, ...]) -> None:
    folder = "out/0" if sweep else "out"
    where = ("hydra.run.dir=out", "hydra.sweep.dir=out")
    child = subprocess.Popen(
        [sys.executable, "-m", "explr", OFF, "train_model=trainings:wait", *where, *sweep],
        cwd=project,
        env=os.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: (project / folder / "started").exists() or child.poll() is not None)
    assert child.poll() is None, child.communicate()
    child.send_signal(number)
    _, errors = child.communicate(timeout=PATIENCE_S)
    assert child.returncode == 130
    assert errors.splitlines()[-1] == "interrupted"
    assert "Traceback" not in errors
    assert "Error executing job" not in errors


@pytest.mark.slow
def test_an_earlier_run_is_run_again(explr, project: Path) -> None:
    first = explr(OFF, TRAIN, "lr=0.5", "seed=3", "+extra=1")
    folder = run_folder(first.stdout)
    again = explr("--experimental-rerun", folder)
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.splitlines()[0] == first.stdout.splitlines()[0]
    assert run_folder(again.stdout) == folder
    changed = explr("--experimental-rerun", folder, "lr=0.25")
    assert "'lr': 0.25" in changed.stdout


def test_options_of_the_project_s_own_conf(explr, project: Path) -> None:
    for group in ("search_space", "experiment"):
        (project / "conf" / group).mkdir(parents=True)
    (project / "conf" / "search_space" / "mine.yaml").write_text(
        "# @package _global_\n# my own\n\n# how fast\nlr: 5\nalpha: 2\n"
    )
    (project / "conf" / "experiment" / "recipe.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /search_space: mine\nalpha: 3\n"
    )
    done = explr(OFF, TRAIN, "experiment=recipe")
    assert "trained with {'lr': 5, 'alpha': 3} seed 42" in done.stdout
    shown = explr("search_space=mine", "--help").stdout
    assert re.search(r"^  \* mine +my own$", shown, re.MULTILINE)
    assert re.search(r"^    lr=5 +how fast$", shown, re.MULTILINE)
    assert re.search(r"^    recipe$", shown, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize(
    "target", ["trainings.py:train", "./trainings.py:train", "trainings:train"]
)
def test_hydra_may_change_the_directory(explr, project: Path, target: str) -> None:
    chdir = ("hydra.job.chdir=true", f"train_model={target}", OFF)
    done = explr(*chdir, "hydra.run.dir=out")
    assert (done.returncode, done.stderr) == (0, "")
    assert run_folder(done.stdout) == "out"
    done = explr(*chdir, "hydra.sweep.dir=sweep", "-m", "lr=1,2")
    assert (done.returncode, done.stderr) == (0, "")
    assert run_folder(done.stdout) == "sweep"


@pytest.mark.skipif(HAS_WHITELIST, reason="Hydra 1.4 has these plugins")
@pytest.mark.parametrize("chosen", ["hydra/sweeper=optuna", "hydra/launcher=ray"])
def test_hydra_13_is_said_to_lack_a_plugin(explr, chosen: str) -> None:
    done = explr(OFF, "-m", "lr=1,2", chosen)
    assert done.returncode == 2
    assert done.stderr.count("explr runs Hydra's own with Hydra 1.4") == 1
    assert "pip install 'explr-train[hydra14]' installs them" in done.stderr
