"""Garbage is collected while a training runs, and not while a command starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

TRAINING = """\
import gc

{first}

import explr

AT_IMPORT = gc.isenabled()


def train(ctx):
    print("collects:", AT_IMPORT, gc.isenabled(), gc.get_freeze_count() > 0)
    return 0.0


if __name__ == "__main__":
    explr.main(train)
"""


@pytest.fixture
def script(tmp_path: Path) -> Any:
    def write(first: str) -> str:
        (tmp_path / "mine.py").write_text(TRAINING.format(first=first))
        return "mine.py"

    return write


LINE = ("tracking=off", "gpu=cpu")


def test_a_command_collects_from_the_first_line_of_the_training_on(explr: Any, script: Any) -> None:
    script("")
    done = explr("train_model=mine:train", *LINE)
    assert "collects: False True True" in done.stdout, done.stderr


@pytest.mark.slow
def test_a_trial_collects(explr: Any, script: Any, tmp_path: Path) -> None:
    script("")
    done = explr(
        *("train_model=mine:train", *LINE, "tuner=optuna", "-m", "lr=interval(0,1)"),
        *("tuner.n_trials=1", "hydra.sweep.dir=out"),
    )
    assert done.returncode == 0, done.stderr
    printed = [path.read_text() for path in (tmp_path / "out" / "0").glob("*.log")]
    assert any("True True" in text.partition("collects: ")[2] for text in printed), printed


@pytest.mark.slow
def test_a_script_that_collects_nothing_is_left_alone(explr: Any, script: Any) -> None:
    done = explr.python(script("gc.disable()"), *LINE)
    assert "collects: False False False" in done.stdout, done.stderr
