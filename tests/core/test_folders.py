"""The files of runs and sweeps, and the best trial that they tell of."""

from __future__ import annotations

import json
import math
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from explr.core.errors import FileError
from explr.core.folders import (
    RESULT,
    RESULTS,
    best_trial,
    common_folder,
    read_json,
    read_result,
    replace_file,
    replacing,
    run_folder,
    write_json,
)


@pytest.mark.parametrize(
    ("content", "written"),
    [({"a": 1}, b'{"a": 1}'), ("ä\n", "ä\n".encode()), (b"\x00\xff", b"\x00\xff")],
    ids=["mapping", "text", "bytes"],
)
def test_a_file_is_replaced_as_a_whole(tmp_path: Path, content: Any, written: bytes) -> None:
    file = tmp_path / "x.json"
    file.write_text("before")
    replace_file(file, content)
    assert file.read_bytes() == written
    assert [*tmp_path.iterdir()] == [file]


@pytest.mark.parametrize("private", [True, False])
def test_a_private_file_is_for_its_user_alone(tmp_path: Path, private: bool) -> None:
    file, usual = tmp_path / "x", tmp_path / "usual"
    usual.touch()
    replace_file(file, "text", private=private)
    expected = 0o600 if private else stat.S_IMODE(usual.stat().st_mode)
    assert stat.S_IMODE(file.stat().st_mode) == expected


def test_a_write_that_fails_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "x.pt"
    file.write_text("before")

    def write_half() -> None:
        with replacing(file, ".pt") as aside:
            aside.write_text("half")
            assert aside.suffix == ".pt"
            assert file.read_text() == "before"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert file.read_text() == "before"
    assert [*tmp_path.iterdir()] == [file]
    with pytest.raises(OSError, match="No such file"):
        replace_file(tmp_path / "nowhere" / "x", "text")


def test_an_unfinished_file_does_not_look_like_a_finished_one(tmp_path: Path) -> None:
    with replacing(tmp_path / "entry.json") as aside:
        aside.touch()
        assert not [*tmp_path.glob("*.json")]


def test_what_people_read_is_written_without_secrets(tmp_path: Path) -> None:
    write_json(tmp_path / "x", {"api_key": "abcdef", "path": Path("here"), "lr": 0.5})
    assert (tmp_path / "x").read_text() == (
        '{\n  "format": 1,\n  "api_key": "***",\n  "path": "here",\n  "lr": 0.5\n}\n'
    )


def test_reading(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    assert read_json(file) is None
    assert read_json(file / "below") is None
    file.write_text("{}")
    assert read_json(file) == {}
    assert read_json(file / "below") is None
    file.write_text("[1]")
    with pytest.raises(FileError, match=r"x\.json is no JSON object"):
        read_json(file)
    file.write_text("[1")
    with pytest.raises(FileError, match=r"x\.json is not valid JSON: Expecting"):
        read_json(file)


def result(value: float | None, number: int = 0, **more: Any) -> dict[str, Any]:
    """The content of a `result.json`."""
    told = {"primary_metric": value, "primary_metric_name": "acc", "minimize": False, "metrics": {}}
    ended = None if value is None else {**told, **more}
    state = "FAIL" if value is None else "COMPLETE"
    known = {"state": state, "number": number, "params": {"lr": 1}, "value": value}
    return {**known, "result": ended, "device": "cpu", "reason": ""}


def write(folder: Path, name: str, content: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content))


def test_every_program_reads_what_is_written(tmp_path: Path) -> None:
    write_json(
        tmp_path / "x.json",
        {
            "plain": [1, 0.5, True, None, "NaN"],
            "odd": [math.nan, {"in": (math.inf, -math.inf)}],
            "numpy": [np.float32(0.5), np.int64(3), np.bool_(True), np.float64("nan")],
        },
    )

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    assert json.loads((tmp_path / "x.json").read_text(), parse_constant=refuse) == {
        "format": 1,
        "plain": [1, 0.5, True, None, "NaN"],
        "odd": ["NaN", {"in": ["Infinity", "-Infinity"]}],
        "numpy": [0.5, 3, True, "NaN"],
    }


@pytest.mark.parametrize("write_it", [write_json, replace_file], ids=["now", "bare, as before"])
def test_numbers_that_are_not_finite_come_back(tmp_path: Path, write_it: Any) -> None:
    for number, value in enumerate((math.inf, 0.5)):
        (tmp_path / str(number)).mkdir()
        content = result(value, number, metrics={"cost": -math.inf, "odd": math.nan})
        write_it(tmp_path / str(number) / RESULT, content)
    best = best_trial(tmp_path)
    assert best is not None
    assert (best.number, best.value) == (0, math.inf)
    found = read_result(tmp_path / "0")
    assert found is not None
    assert (found["value"], found["result"]["primary_metric"]) == (math.inf, math.inf)
    assert found["result"]["metrics"]["cost"] == -math.inf
    assert math.isnan(found["result"]["metrics"]["odd"])
    write_it(tmp_path / RESULTS, {"command": "", "trials": [found], "best": found})
    best = best_trial(tmp_path)
    assert best is not None
    assert best.value == math.inf


def test_the_best_of_a_grid(tmp_path: Path) -> None:
    assert best_trial(tmp_path) is None
    write(tmp_path / "0", RESULT, result(None))
    assert best_trial(tmp_path) is None
    write(tmp_path / "1", RESULT, result(0.5, 1))
    write(tmp_path / "2", RESULT, result(0.75, 2, best_model_path="model.pt"))
    write(tmp_path / "3", RESULT, result(0.25, 3))
    best = best_trial(tmp_path)
    assert best is not None
    assert (best.number, best.trials, best.value, best.metric) == (2, 4, 0.75, "acc")
    assert (best.folder, best.params, best.model) == (tmp_path / "2", {"lr": 1}, Path("model.pt"))


def test_the_best_of_a_sweep_with_replicates(tmp_path: Path) -> None:
    found = {"number": 1, "params": {"lr": 2}, "value": 0.5}
    write(tmp_path, RESULTS, {"command": "", "trials": [{}, found], "best": found})
    write(tmp_path / "1" / "0", RESULT, result(0.4, 1, best_model_path="model.pt"))
    write(tmp_path / "1" / "1", RESULT, result(0.6, 1))
    best = best_trial(tmp_path)
    assert best is not None
    assert (best.number, best.trials, best.value) == (1, 2, 0.5)
    assert (best.folder, best.model) == (tmp_path / "1" / "0", Path("model.pt"))
    several = {"command": "", "trials": [{}, found], "best": None, "front": [found]}
    write(tmp_path, RESULTS, several)
    assert best_trial(tmp_path) is None


@pytest.mark.parametrize("name", [RESULT, ".hydra", "journal-1.jsonl"])
def test_a_folder_that_a_training_called_0_is_no_replicate(tmp_path: Path, name: str) -> None:
    (tmp_path / "0").mkdir()
    assert run_folder(tmp_path) == tmp_path / "0"
    (tmp_path / name).touch()
    assert run_folder(tmp_path) == tmp_path


@pytest.mark.parametrize(
    ("folders", "common"),
    [(["out/0"], "out"), (["out/0", "out/1"], "out"), (["out/a/0", "out/b/1"], "out")],
)
def test_the_folder_of_a_grid_holds_all_its_trials(folders: list[str], common: str) -> None:
    assert common_folder([Path(folder) for folder in folders]) == Path(common)
