"""Experiments are called after the project, runs after what was set or searched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from explr.tracking.mlflow.titles import (
    LONGEST,
    project_name,
    run_name,
    sweep_name,
    training_given,
    trial_name,
)

NOW = Path("outputs/2026-01-31/12-30-59-123456")


@pytest.mark.parametrize(
    ("train_model", "cwd", "name"),
    [
        ("resnet.py:train_model", "/work/vision", "resnet"),
        ("train.py:train_model", "/work/vision", "vision"),
        ("/work/vision/src/main.py:train", "/elsewhere", "vision"),
        ("train.py:fit", "/work/vision/src", "vision"),
        ("explr.examples.pytorch_example:train_model", "/work/vision", "pytorch_example"),
        ("vision.models.train:fit", "/work/other", "vision"),
        ("vision.train.fit", "/work/other", "vision"),
        ({"_target_": "vision.train:Trainer", "depth": 3}, "/work/other", "vision"),
        ("train:train_model", "/work/vision", "vision"),
        ("train:train_model", "/home/me", "train"),
        ("__main__:train_model", "/home/me", "default"),
    ],
)
def test_an_experiment_is_called_after_the_project(
    train_model: Any, cwd: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert project_name(train_model, Path(cwd)) == name


def test_a_function_from_python_counts_before_the_one_of_the_config() -> None:
    with training_given("__main__:function"):
        assert project_name("explr.examples.pytorch_example:f", Path("/work/vision")) == "vision"
    assert project_name("explr.examples.pytorch_example:f", Path("/w")) == "pytorch_example"


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], "defaults"),
        (["train_model=a.py:f", "gpu=cpu", "tracking.port=0", "framework=none"], "defaults"),
        (["lr=0.0123456789", "+width=64"], "lr=0.01235 width=64"),
        (["optimizer.lr=1e-05", "name='a b'", "~momentum"], "optimizer.lr=1e-05 name=a b"),
        (["seed=12345678", "explr/file@_global_=settings"], "seed=12345678"),
        (["api_key=abcdefgh12345"], "api_key=***"),
    ],
)
def test_a_run_is_called_after_what_was_set(overrides: list[str], name: str) -> None:
    assert run_name(NOW, overrides) == name


def test_a_folder_that_somebody_named_gives_the_name() -> None:
    assert run_name(Path("runs/baseline"), ["lr=1"]) == "baseline"
    assert sweep_name(Path("multirun/wide"), ["lr"], ["width=1,2"]) == "wide"


def test_a_name_is_never_long() -> None:
    names = [f"parameter_{n}={n}" for n in range(50)]
    name = run_name(NOW, names)
    assert name.startswith("parameter_0=0 parameter_1=1 ")
    assert name.endswith(" …")
    assert len(name) <= LONGEST
    assert len(sweep_name(NOW, names, [])) <= LONGEST


def test_a_trial_has_its_number_and_what_was_searched(tmp_path: Path) -> None:
    sweep = ["width=64", "lr=interval(0,1)"]
    trial = ["width=64", "lr=0.123456789", "framework=none"]
    assert trial_name(tmp_path / "s" / "7", trial, sweep) == "7 lr=0.1235 framework=none"
    (tmp_path / "sweep.json").write_text("{}")
    assert trial_name(tmp_path / "7" / "1", ["seed=43"], sweep) == "7/1 seed=43"


def test_a_sweep_is_called_after_what_it_searches() -> None:
    typed = ["lr=interval(0.1,1)", "width=1,2", "depth=3", "sizes=[1,2]", "gpu=cpu,full"]
    assert sweep_name(NOW, ["momentum"], typed) == "sweep of momentum, lr, width"
    assert sweep_name(NOW, [], []) == NOW.name
