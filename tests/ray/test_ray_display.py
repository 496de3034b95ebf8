"""The live view of a sweep on Ray is that of any other."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from terminals import Terminal, plain, text_of

TRAINING = """\
import time
from pathlib import Path


def train(ctx):
    for step in range(4):
        ctx.report(step, val_loss=ctx.hyperparameters["lr"] + 1 / (step + 1))
        while ctx.trial_number < 2 and not Path(f"seen-{ctx.trial_number}").exists():
            time.sleep(0.02)
    return ctx.hyperparameters["lr"]
"""

ROW = r"\n +0 +\d +[\d.]+  \S+ *  \d+:\d\d +0\.\d+"
"""Trial, step, value, curve, time, and lr."""


@pytest.mark.slow
def test_a_sweep_on_ray_in_a_terminal(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(TRAINING)
    line = ["tuner=ray", "-m", "lr=interval(0,1)", "train_model=job:train", "tracking=off"]
    limits = ["tuner.n_trials=3", "tuner.study_name=s", "tuner/pruner=none"]
    command = [sys.executable, "-m", "explr", *line, *limits]
    then = {
        f"1 running on 1 worker(?s:.*){ROW}": (tmp_path / "seen-0").touch,
        r"best val_loss 0\.": (tmp_path / "seen-1").touch,
    }
    code, output = terminal(command, then=then)
    assert code == 0, output
    seen = plain(output)
    assert "1 running on 1 worker" in seen
    assert re.search(ROW, seen)
    assert "best val_loss 0." in seen
    left = text_of(output)
    assert not any("running of" in line for line in left)
    assert "3 trials: 3 complete" in left
    assert sum("COMPLETE: 0." in line for line in left) == 3
