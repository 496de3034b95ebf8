"""The files of a job: what Hydra itself would save, whatever was the same in the job before."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from explr.launching.job_files import JobFiles

Color = Enum("Color", ["red", "green"])
SHARED = Path("data")
HYDRA = {"job": {"num": 0, "name": "app"}, "run": {"dir": "${now:%Y}"}, "overrides": {"task": []}}


def saved(config: DictConfig) -> str:
    """What Hydra writes of a config."""
    return str(OmegaConf.to_yaml(config))


@pytest.mark.parametrize(
    "values",
    [
        [1, 1.0, True, "1", "true", None, "null", "~"],
        [{}, [], {"a": {}}, {"a": []}, {"a": 1}, {"a": True}, [1], [1.0]],
        [Color.red, Color.green, SHARED, Path("other"), b"bytes", float("nan"), float("inf")],
        ["a: b", "# no comment", "ü", "two\nlines", "${lr}", "x" * 200, "word " * 40, ""],
    ],
)
def test_equal_to_hydras_own_in_every_order(values: list[Any]) -> None:
    files = JobFiles()
    for number, value in enumerate([*values, *reversed(values)]):
        task = OmegaConf.create({"one": value, "two": {"three": value}, "lr": 0.1, "n": number})
        hydra = {**HYDRA, "job": {"num": number}, "overrides": {"task": [f"n={number}"]}}
        config = OmegaConf.create({**task, "hydra": {**hydra, "sweep": {"subdir": value}}})
        texts = files.texts(config, task, ["one", "two", "n", "hydra.sweep"])
        assert texts["config.yaml"] == saved(task)
        assert texts["hydra.yaml"] == saved(OmegaConf.masked_copy(config, "hydra"))
        assert texts["overrides.yaml"] == saved(config.hydra.overrides.task)


def test_keys_that_come_and_go() -> None:
    files = JobFiles()
    for content in ({"a": 1, "b": 2}, {"b": 2, "a": 1}, {"b": 2}, {}, {"c": 3, "a": 1}):
        task = OmegaConf.create(content)
        config = OmegaConf.create({**content, "hydra": HYDRA})
        assert files.texts(config, task, ["a", "b", "c"])["config.yaml"] == saved(task)


def test_only_what_a_job_changes_is_written_anew() -> None:
    files = JobFiles()
    shared = {"where": SHARED}
    changes: list[dict[str, Any]] = [
        {},
        {"a.b.c": 1},
        {"a.b.d.e": [1]},
        {"a": None},
        {"a.b": {"c": 3}},
        {"x": {"y": "${n}"}},
        {"a[b].c": 5},
        {"hydra.job.name": "other", "hydra.run": {"dir": "."}},
        {"hydra.sweep.more.deep": 1},
        {"a.b": shared, "x": shared},
        {"hydra.sweep.subdir": SHARED, "hydra.run.dir": SHARED},
        {"n": 2},
    ]
    for number, changed in enumerate([*changes, *reversed(changes)]):
        own = {"a": {"b": {"c": 0, "d": {"e": 1}}, "f": "g"}, "x": {"y": 1}, "1e3": {"off": 1}}
        config = OmegaConf.create({**own, "n": number % 2, "hydra": {**HYDRA, "sweep": {}}})
        config.hydra.job.num = number
        for key, value in {"n": 0, **changed}.items():
            OmegaConf.update(config, key, value)
        task = OmegaConf.masked_copy(config, [*own, "n"])
        texts = files.texts(config, task, [*changed])
        assert texts["config.yaml"] == saved(task), changed
        assert texts["hydra.yaml"] == saved(OmegaConf.masked_copy(config, "hydra")), changed


def test_keys_that_are_no_texts() -> None:
    files = JobFiles()
    for number in range(3):
        task = OmegaConf.create({"table": {1: number, Color.red: 2}, "lr": number})
        config = OmegaConf.merge(task, {"hydra": HYDRA})
        assert isinstance(config, DictConfig)
        texts = files.texts(config, task, ["table.1", "lr"])
        assert texts["config.yaml"] == saved(task)


def test_secrets_are_hidden_in_every_job() -> None:
    files = JobFiles()
    for number in range(2):
        task = OmegaConf.create({"db": {"password": "abcdefgh"}, "lr": number})
        config = OmegaConf.create({**task, "hydra": HYDRA})
        texts = files.texts(config, task, ["lr"])
        assert texts["config.yaml"] == f"db:\n  password: '***'\nlr: {number}\n"
