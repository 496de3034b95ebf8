"""A training without a framework: NumPy's threads, and the whole path."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from threadpoolctl import threadpool_info

from explr.core.errors import DeviceError
from explr.core.framework import registered
from explr.utils.gpu import nvidia_gpu_count

PLAIN = {"seed": None, "deterministic": False, "device": "cpu", "memory_limit_gb": 0}

RESUMED = """\
import os, signal
import numpy as np

def train(ctx):
    start, value = ctx.load_checkpoint() or (-1, np.ones(2))
    for step in range(start + 1, 4):
        value = value / 2
        ctx.save_checkpoint(value, step)
        ctx.report(step, val_loss=value.sum())
        if step == 1 and start < 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return float(value.sum())
"""


def blas_threads() -> set[int]:
    return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}


def test_threads_are_limited_and_given_back() -> None:
    import numpy  # noqa: F401 - it loads the library whose threads are limited

    framework = registered("none")
    before = blas_threads()
    framework.configure(**{**PLAIN, "threads": 1})
    assert blas_threads() == {1}
    framework.configure(**{**PLAIN, "threads": None})
    assert blas_threads() == before


@pytest.mark.skipif(nvidia_gpu_count() > 0, reason="this machine has a GPU")
def test_a_gpu_is_not_promised_where_there_is_none() -> None:
    with pytest.raises(DeviceError, match="cuda is not on this machine: it has cpu"):
        registered("none").resolve_device("cuda")


def test_the_bundled_example_learns(explr, tmp_path: Path) -> None:
    done = explr("framework=none", "tracking=off", "epochs=12", "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())["result"]
    assert result["metrics"]["val_accuracy"] > 0.9
    assert (tmp_path / "run" / "best_model.npz").is_file()


@pytest.mark.slow
def test_a_killed_trial_resumes_from_its_checkpoint(explr, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(RESUMED)
    done = explr(
        "train_model=mine:train", "tracking=off", "tuner=optuna", "-m", "lr=interval(0.1,1)",
        "tuner.n_trials=2", "tuner.study_name=killed",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "multirun" / "killed" / "results.json").read_text())
    assert [(t["state"], t["value"], t["attempts"]) for t in results["trials"]] == [
        ("COMPLETE", 0.125, 2)
    ] * 2
