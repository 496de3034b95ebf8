"""The live view of a sweep on Ray is that of any other."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from terminals import Terminal, text_of

TRAINING = """\
import time


def train(ctx):
    for step in range(4):
        time.sleep(0.2)
        ctx.report(step, val_loss=ctx.hyperparameters["lr"] + 1 / (step + 1))
    return ctx.hyperparameters["lr"]
"""


@pytest.mark.slow
def test_a_sweep_on_ray_in_a_terminal(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(TRAINING)
    line = ["tuner=ray", "-m", "lr=interval(0,1)", "train_model=job:train", "tracking=off"]
    limits = ["tuner.n_trials=3", "tuner.study_name=s", "tuner/pruner=none"]
    command = [sys.executable, "-m", "explr", *line, *limits]
    code, output = terminal(command)
    assert code == 0, output
    seen = re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", output)
    assert "1 running of 1 slot" in seen
    assert re.search(r"\n +0 +\d +[\d.]+  0:0\d  lr=0\.\d+", seen)  # trial, step, value, time
    assert "best val_loss 0." in seen
    left = text_of(output)
    assert not any("running of" in line for line in left)
    assert "3 trials: 3 complete" in left
    assert sum("COMPLETE: 0." in line for line in left) == 3
