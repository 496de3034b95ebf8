"""Hyperparameters against the kind of their defaults."""

from __future__ import annotations

from pathlib import Path

import pytest

import explr
from explr.config.compose import hydra_app
from explr.config.defaults import type_faults
from explr.config.diagnosis import compose_one
from explr.config.settings_file import FILE_OVERLAY, store_file_overlay
from explr.core.errors import ConfigError

DEFAULTS = """\
# @package _global_
lr: 0.1
steps: 3
flag: false
optimizer: adam
layers: [8, 8]
model: {depth: 3, kind: net}
empty: null
gone: 1
later: ???
derived: ${steps}
"""

SOUND = [
    "lr=1", "lr=1e-3", "lr=null", "lr=${steps}", "steps=2.5", "flag=true", "flag=0", "flag=1",
    "optimizer=sgd", "optimizer=3", "optimizer=true", "layers=[1]", "layers=null", "empty=x",
    "empty=[1]", "later=x", "model={depth:4}", "model.depth=4", "model.kind=other", "derived=4",
    "++lr=abc", "lr=0.1,1", "lr=interval(0,1)", "optimizer=sgd,adam", "flag=true,false",
    "layers=[1],[2,3]", "lr=range(1,3)", "seed=3", "tuner.study_name=x", "+new=x", "~gone",
]  # fmt: skip

WRONG = {
    "lr=abc": "lr=abc: lr is a number by default (0.1), and not abc; ++lr=… sets it all the same",
    "lr=true": "lr is a number by default (0.1), and not true",
    "lr=[1]": "and not [1]",
    "lr={a:1}": "lr is a number by default",
    "steps='3'": 'steps is a number by default (3), and not "3"',
    "flag=yes": "flag is true or false by default (False), and not yes",
    "flag=3": "flag is true or false by default",
    "optimizer=[sgd,adam]": "optimizer is a text by default (adam), and not [sgd,adam]",
    "layers=8": "layers is a list by default, and not 8",
    "model=big": "model is a mapping by default, and not big",
    "model.depth=deep": "model.depth is a number by default (3), and not deep",
    "derived=x": "derived is a number by default (3)",
    "lr=0.1,abc": "lr=0.1,abc: lr is a number by default",
    "lr=choice(0.1,abc)": "lr=choice(0.1,abc): lr is a number by default",
    "flag=interval(0.5,1)": "flag is true or false by default",
    "layers=interval(0,1)": "layers is a list by default",
}


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "conf" / "search_space"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(DEFAULTS)


def faults_of(*texts: str) -> list[str]:
    with hydra_app() as app:
        return type_faults(
            ["search_space=mine", "tuner=optuna", *texts],
            lambda line: compose_one(app, line),
            app.config_loader,
        )


def test_sound_values() -> None:
    assert faults_of("lr=text", *SOUND) == faults_of("lr=text")  # the first has defaults composed


def test_wrong_values() -> None:
    found = faults_of(*WRONG)
    assert len(found) == len(WRONG)
    for fault, word in zip(found, WRONG.values(), strict=True):
        assert word in fault


def test_a_file_of_settings() -> None:
    store_file_overlay({"lr": "fast", "model": {"depth": "x"}, "steps": 9, "seed": 1, "own": "x"})
    found = faults_of(FILE_OVERLAY, "steps=many", "own=3")
    assert [fault.partition(" in the file")[0] for fault in found[:2]] == ["lr", "model.depth"]
    assert found[2].startswith("steps=many: steps is a number by default (9)")
    assert len(found) == 3


@pytest.mark.slow
def test_python_refuses_the_same() -> None:
    with pytest.raises(ConfigError, match=r"lr=abc: lr is a number by default \(0.1\)"):
        explr.compose(["search_space=mine", "lr=abc", "later=1"])
    with pytest.raises(ConfigError, match="lr is a number") as told:
        explr.tune(
            ["search_space=mine", "later=1", "framework=none", "lr=0.1,abc", "seed=x"],
            lambda ctx: 0.0,
        )
    assert len(told.value.faults) == 2
    with pytest.raises(ConfigError) as both:
        explr.compose(["search_space=mine", "later=1", "lr=abc", "nix=1"])
    assert len(both.value.faults) == 2
