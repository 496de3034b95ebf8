from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import explr.conf
import explr.examples
from explr.config.target import resolve_target
from explr.core.checkpoint import Checkpoints
from explr.core.protocols import TrainingContext
from explr.examples.digits import load_digits
from explr.frameworks.base import get_framework

EXAMPLES = Path(explr.examples.__path__[0])
SEARCH_SPACES = Path(explr.conf.__path__[0]) / "search_space"
DEFAULTS = {
    key: float(value) if key == "lr" else value
    for key, value in yaml.safe_load((SEARCH_SPACES / "default.yaml").read_text()).items()
}
NAMES = ["pytorch", "tensorflow"]

# Keras 3 itself, when it saves a model with numpy 2.4
ignore_keras_warning = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword"
)

TRAIN = """
import json, sys
from pathlib import Path
from test_examples import train
from explr.frameworks.base import get_framework
from explr.runner.cli.main import main

name, folder, times = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
sys.argv[1:] = [
    f"framework={name}", "gpu=cpu", "tracking=off", "seed=3", "epochs=2",
    f"train_model=explr.examples.{name}_skeleton:train_model", f"hydra.run.dir={folder}",
]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
trained = {"False": [], "True": []}
for deterministic in (False, True):
    for attempt in range(times):
        get_framework(name).configure(
            seed=3, deterministic=deterministic, threads=None, device="cpu", memory_limit_gb=0
        )
        place = folder / f"{deterministic} {attempt}"
        trained[str(deterministic)].append(train(name, place, epochs=2)[1])
(folder / "trained.json").write_text(json.dumps(trained))
"""
"""Trains the skeleton by the command line, then the example, plain and deterministic."""


class RecordingTracker:
    """Keeps the metrics that it is given."""

    def __init__(self) -> None:
        self.rows: list[tuple[int | None, dict[str, float]]] = []

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.rows.append((step, dict(metrics)))


class Killed(BaseException):
    """Stands for the end of the process."""


class KillingTracker(RecordingTracker):
    """Ends the training when it logs a step."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        super().log_metrics(metrics, step)
        if step == self.step:
            raise Killed


def train(
    name: str, folder: Path, tracker: RecordingTracker | None = None, **hyperparameters: Any
) -> tuple[Any, list[tuple[int | None, dict[str, float]]]]:
    """Train an example on the CPU; returns its result and the metrics that it logged."""
    tracker = tracker or RecordingTracker()
    serializer = get_framework(name).serializer
    ctx = TrainingContext(
        hyperparameters={**DEFAULTS, **hyperparameters},
        tracker=tracker,  # type: ignore[arg-type]
        trial_id="test",
        device="cpu",
        output_dir=folder,
        checkpoints=Checkpoints(folder / "checkpoints", serializer),
    )
    return resolve_target(f"explr.examples.{name}_example:train_model")(ctx), tracker.rows


def seed(name: str, value: int) -> None:
    get_framework(name).configure(
        seed=value, deterministic=False, threads=None, device="cpu", memory_limit_gb=0
    )


def test_the_digits_are_split_the_same_for_every_digit() -> None:
    digits = load_digits()
    assert digits.train_images.shape == (1442, 8, 8)
    assert digits.val_images.shape == (355, 8, 8)
    for images in (digits.train_images, digits.val_images):
        assert images.dtype == np.float32
        assert (images.min(), images.max()) == (0, 1)
    both = np.bincount(digits.train_labels) + np.bincount(digits.val_labels)
    assert both.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert np.bincount(digits.val_labels).tolist() == (both // 5).tolist()


def test_no_image_is_in_both_parts() -> None:
    digits = load_digits()
    train, val = ({image.tobytes() for image in part} for part in (digits[0], digits[2]))
    assert not train & val


@pytest.mark.slow
@ignore_keras_warning
@pytest.mark.parametrize("name", NAMES)
def test_defaults_reach_the_accuracy(name: str, tmp_path: Path) -> None:
    seed(name, 42)
    result, rows = train(name, tmp_path)
    assert result.metrics["val_accuracy"] >= 0.97
    assert result.primary_metric == min(row["val_loss"] for _, row in rows)
    assert [step for step, _ in rows] == list(range(DEFAULTS["epochs"]))
    assert all({"train_loss", "val_loss", "val_accuracy"} <= set(row) for _, row in rows)
    assert Path(result.best_model_path).is_file()
    assert result.epochs_completed == DEFAULTS["epochs"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_equal_seeds_give_equal_metrics_to_the_last_bit(name: str, tmp_path: Path) -> None:
    skeleton, trained = run_child(name, tmp_path / "one", times=2)
    other_skeleton, other = run_child(name, tmp_path / "other", times=1)
    assert skeleton == other_skeleton
    for mode, attempts in trained.items():
        first, again = attempts
        assert len(first) == 2
        assert first == again
        assert [first] == other[mode]


def run_child(name: str, folder: Path, times: int) -> tuple[Any, dict[str, list[Any]]]:
    """What one fresh process finds.

    Returns:
        The skeleton's end, and the metrics of the example, trained some times in each mode.
    """
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, name, str(folder), str(times)],
        env={
            **{name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"},
            "PYTHONPATH": str(Path(__file__).parent),
            "PYTHONHASHSEED": "random",
            "OMP_WAIT_POLICY": "PASSIVE",  # several threads, which do not spin while they wait
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((folder / "result.json").read_text())["result"]
    trained = json.loads((folder / "trained.json").read_text())
    return (result["primary_metric"], result["metrics"]), trained


@pytest.mark.slow
def test_pytorch_resumes_as_if_nothing_had_happened(tmp_path: Path) -> None:
    seed("pytorch", 1)
    expected, rows = train("pytorch", tmp_path / "whole", epochs=4)
    seed("pytorch", 1)
    with pytest.raises(Killed):
        train("pytorch", tmp_path / "cut", KillingTracker(2), epochs=4)
    seed("pytorch", 99)
    result, rest = train("pytorch", tmp_path / "cut", epochs=4)
    assert rest == rows[2:]
    assert result.metrics == expected.metrics


@pytest.mark.slow
@ignore_keras_warning
def test_tensorflow_resumes_with_the_epoch_after_its_checkpoint(tmp_path: Path) -> None:
    seed("tensorflow", 1)
    tracker = KillingTracker(2)
    with pytest.raises(Killed):
        train("tensorflow", tmp_path, tracker, epochs=4)
    result, rest = train("tensorflow", tmp_path, epochs=4)
    assert [step for step, _ in rest] == [2, 3]
    assert rest[0][1]["val_loss"] < tracker.rows[0][1]["val_loss"]
    assert result.epochs_completed == 4


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_skeletons_are_short_and_train(name: str, tmp_path: Path) -> None:
    assert len((EXAMPLES / f"{name}_skeleton.py").read_text().splitlines()) < 40
    seed(name, 1)
    tracker = RecordingTracker()
    ctx = TrainingContext(
        hyperparameters={"lr": 0.1, "epochs": 5},
        tracker=tracker,  # type: ignore[arg-type]
        trial_id="test",
        device="cpu",
        seed=1,
        output_dir=tmp_path,
    )
    result = resolve_target(f"explr.examples.{name}_skeleton:train_model")(ctx)
    assert result.primary_metric == tracker.rows[-1][1]["val_loss"] < tracker.rows[0][1]["val_loss"]
    assert result.epochs_completed == 5
