"""`explr plan -- COMMAND`: what an app of somebody's would run, while nothing of it runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from hydra_spelling import spelled

pytestmark = pytest.mark.slow

APP = spelled("""\
from pathlib import Path

import hydra
from hydra.experimental.callback import Callback


class Heard(Callback):
    def __init__(self):
        Path("heard").touch()


@hydra.main(config_path="conf", config_name="config")
def main(cfg):
    Path("trained").touch()
    return cfg.lr


if __name__ == "__main__":
    main()
    Path("went on").touch()
""")

EXPLR_APP = """\
import explr


def train(ctx):
    return 1.0


if __name__ == "__main__":
    explr.main(train, "tracking=off", "framework=none")
"""

OPTUNA = ("-m", "hydra/sweeper=explr_optuna", "hydra/launcher=explr_local")

PLANS: list[tuple[tuple[str, ...], list[str]]] = [
    (
        (*OPTUNA, "lr=interval(0.5,1)", "hydra.sweeper.n_trials=3", "hydra.sweeper.timeout_s=60.0",
         "hydra.sweeper.n_jobs=2", "+hydra.sweeper.sampler.seed=1", "--config-name=other"),
        ["sweeper      explr_optuna: 3 trials, 2 at a time", "search       wd: interval(5,6)",
         "lr: interval(0.5,1)", "sampler      TPESampler(seed=1)", "direction    minimize",
         "time         no new trial after 60 s", "launcher     explr_local", "folder       out",
         "the first 3 trials:\n    wd=5."],
    ),
    (
        ("-m", "lr=1,2", "wd=range(1,4)"),
        ["basic (Hydra's own grid): 6 jobs", "lr: 1,2", "wd: range(1,4)",
         "the first 5 jobs:\n    lr=1 wd=1\n    lr=1 wd=2\n"],
    ),
]  # fmt: skip

REFUSED: list[tuple[tuple[str, ...], str]] = [
    (("lr=1",), "this command trains once: add -m to plan a sweep\n"),
    (
        ("-m", "lr=interval(0,1)"),
        "lr=interval(0,1): Hydra's own sweeper takes lists of values only",
    ),
    ((*OPTUNA, "lrr=interval(0,1)"), "did you mean lr?\n"),
]


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """The folder of an app with a callback of its own."""
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "conf").mkdir()
    config = "lr: 0.1\nwd: 2\nhydra: {sweep: {dir: out}, callbacks: {own: {_target_: app.Heard}}}\n"
    (tmp_path / "conf/config.yaml").write_text(config)
    ranges = "hydra: {sweeper: {params: {wd: 'interval(5,6)'}}}\n"
    (tmp_path / "conf/other.yaml").write_text(f"defaults: [config, _self_]\n{ranges}")
    return tmp_path


@pytest.mark.parametrize(("line", "parts"), PLANS)
def test_a_sweep_is_planned(explr: Any, app: Path, line: tuple[str, ...], parts: list[str]) -> None:
    files = {path.name for path in app.iterdir()}
    done = explr("plan", "--", sys.executable, "app.py", *line)
    assert (done.returncode, done.stderr) == (0, "")
    assert [part for part in parts if part not in done.stdout] == []
    assert {path.name for path in app.iterdir()} - {"__pycache__"} == files


@pytest.mark.parametrize(("line", "sentence"), REFUSED)
def test_what_is_no_sweep_is_refused_and_does_not_train(
    explr: Any, app: Path, line: tuple[str, ...], sentence: str
) -> None:
    done = explr("plan", "--", sys.executable, "-m", "app", *line)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not {"heard", "trained", "went on"} & {path.name for path in app.iterdir()}


def test_a_program_that_is_no_hydra_app(explr: Any) -> None:
    done = explr("plan", "--", sys.executable, "-c", "print(1)", "-m")
    assert (done.returncode, done.stdout) == (2, "1\n")
    assert "ended with code 0 and planned no sweep: it is no Hydra app, or explr is" in done.stderr


def test_a_program_that_is_not_there(explr: Any) -> None:
    done = explr("plan", "--", "no-such-program", "-m", "lr=1,2")
    assert done.returncode == 2
    assert done.stderr == (
        "no-such-program cannot be run: No such file or directory; write the command of your app "
        "after --, as in explr plan -- python train.py -m lr=1,2\n"
    )


def test_a_script_of_explr_and_its_own_command(explr: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(EXPLR_APP)
    line = ("-m", "tuner=optuna", "lr=interval(0,1)", "tuner.n_trials=2")
    done = explr("plan", "--samples", "1", "--", sys.executable, "mine.py", *line)
    assert (done.returncode, done.stderr) == (0, "")
    assert "tuner        optuna: 2 trials, 1 at a time\nsearch       lr: interval" in done.stdout
    assert done.stdout.count("    lr=0.") == 1
    own = (sys.executable, "-m", "explr", *line, "train_model=mine:train", "framework=none")
    assert "the first 2 trials:" in explr("plan", "--", *own).stdout
    assert not (tmp_path / "multirun").exists()
