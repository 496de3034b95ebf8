"""A training without a framework: NumPy's threads, and the whole path."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from explr.core.checkpoint import Checkpoints
from explr.core.errors import CheckpointError, DeviceError
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


SHARED = """\
import sys
from pathlib import Path

def train(ctx):
    start, _ = ctx.load_checkpoint() or (0, None)
    ctx.save_checkpoint({"weights": [1.0]}, start + 1)
    if Path("wait").exists():
        print("saved", flush=True)
        sys.stdin.read()
    return float(start)
"""


class Unreadable:
    """Pickles, but cannot be made from what is pickled."""

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return Point, ()


class Point(NamedTuple):
    x: int


def test_what_pickle_could_not_read_back_is_refused_with_its_place(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, registered("none").serializer)
    place = r"the state\['models'\]\[1\] could not be read back from a checkpoint: "
    for value, why in ((lambda: 1, "PicklingError|AttributeError"), (Unreadable(), "TypeError")):
        with pytest.raises(CheckpointError, match=f"{place}({why})"):
            checkpoints.save({"models": [Point(1), value]}, 0)
    assert list(tmp_path.iterdir()) == []
    state = {"big": np.arange(9.0), "point": Point(1)}
    checkpoints.save(state, 0)
    loaded = checkpoints.load()
    assert loaded is not None
    assert (loaded[1]["point"], list(loaded[1]["big"])) == (Point(1), list(state["big"]))


def test_a_class_that_has_gone_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = Checkpoints(tmp_path, registered("none").serializer)
    checkpoints.save(Point(1), 0)
    monkeypatch.delattr(sys.modules[__name__], "Point")
    with pytest.raises(CheckpointError, match=r"step-000000000\.pkl cannot be read: .*Point"):
        checkpoints.load()


@pytest.mark.slow
def test_two_runs_of_one_folder(explr, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SHARED)
    (tmp_path / "wait").touch()
    command = ("framework=none", "train_model=mine:train", "tracking=off", "hydra.run.dir=run")
    with subprocess.Popen(
        [sys.executable, "-m", "explr", *command, "framework.keep_checkpoints=3"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as first:
        assert first.stdout is not None
        assert "saved\n" in iter(first.stdout.readline, "")
        second = explr(*command)
        first.kill()
    assert second.returncode == 1
    assert (
        f"run/checkpoints are those of another run, which has not ended yet: the run in {tmp_path}"
        in second.stderr
    )
    assert f"(pid {first.pid} on" in second.stderr
    (tmp_path / "wait").unlink()
    for start in (1, 2, 3):
        resumed = explr(*command, "framework.keep_checkpoints=3")
        assert resumed.returncode == 0, resumed.stderr
        assert json.loads((tmp_path / "run" / "result.json").read_text())["value"] == start
    assert len([*(tmp_path / "run" / "checkpoints").glob("step-*.pkl")]) == 3


def blas_threads() -> set[int]:
    return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}


def test_threads_are_limited_and_given_back() -> None:
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
