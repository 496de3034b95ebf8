from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from explr.core.checkpoint import KEPT, Checkpoints
from explr.core.errors import CheckpointError

SIZE = 200_000


class Json:
    """Writes slowly enough for a kill to hit it."""

    suffix = ".json"

    def save(self, state: Any, path: Path) -> None:
        path.write_text(json.dumps(state))

    def load(self, path: Path) -> Any:
        return json.loads(path.read_text())


def state(step: int) -> dict[str, Any]:
    return {"step": step, "weights": [step] * SIZE}


def saving_for_ever(folder: str) -> None:
    checkpoints = Checkpoints(Path(folder), Json())
    done = checkpoints.load()
    step = 0 if done is None else done[0] + 1
    print("ready", flush=True)
    while True:
        checkpoints.save(state(step), step)
        step += 1


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints", Json())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_nothing_saved_is_none(checkpoints: Checkpoints, tmp_path: Path) -> None:
    assert checkpoints.load() is None
    assert not (tmp_path / "checkpoints").exists()


def test_the_latest_is_loaded_and_the_one_before_kept(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    for step in range(4):
        path = checkpoints.save({"step": step}, step)
        assert path == tmp_path / "checkpoints" / f"step-{step:09d}.json"
    assert checkpoints.load() == (3, {"step": 3})
    assert names(tmp_path / "checkpoints") == [
        "step-000000002.json", "step-000000002.json.sha256",
        "step-000000003.json", "step-000000003.json.sha256",
    ]  # fmt: skip
    assert KEPT == 2


def test_a_step_saved_again_is_replaced(checkpoints: Checkpoints) -> None:
    checkpoints.save({"take": 1}, 5)
    checkpoints.save({"take": 2}, 5)
    assert checkpoints.load() == (5, {"take": 2})


def test_a_training_that_starts_anew_has_the_latest(checkpoints: Checkpoints) -> None:
    for step in (8, 9):
        checkpoints.save({"first": step}, step)
    path = checkpoints.save({"second": 0}, 0)
    assert path.is_file()
    assert checkpoints.load() == (0, {"second": 0})


@pytest.mark.parametrize("damage", ["bytes", "cut", "checksum", "binary checksum", "no checksum"])
def test_a_damaged_one_falls_back_to_the_one_before(checkpoints: Checkpoints, damage: str) -> None:
    checkpoints.save({"step": 1}, 1)
    path = checkpoints.save({"step": 2}, 2)
    checksum = path.with_name(path.name + ".sha256")
    match damage:
        case "bytes":
            path.write_text(path.read_text().replace("2", "3"))
        case "cut":
            os.truncate(path, 3)
        case "checksum":
            checksum.write_text("0" * 64)
        case "binary checksum":
            checksum.write_bytes(b"\xff\xfe\x00")
        case "no checksum":
            checksum.unlink()
    assert checkpoints.load() == (1, {"step": 1})


def test_if_all_are_damaged_there_is_none(checkpoints: Checkpoints) -> None:
    for step in (1, 2):
        os.truncate(checkpoints.save({"step": step}, step), 3)
    assert checkpoints.load() is None


@pytest.mark.parametrize("step", [1, 2])
def test_a_save_that_fails_leaves_what_was_saved(
    checkpoints: Checkpoints, tmp_path: Path, step: int
) -> None:
    checkpoints.save({"step": 1}, 1)
    with pytest.raises(TypeError, match="not JSON serializable"):
        checkpoints.save({"bad": object()}, step)
    assert checkpoints.load() == (1, {"step": 1})
    assert len(names(tmp_path / "checkpoints")) == 2


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*file.*: Not a directory"):
        Checkpoints(tmp_path / "file" / "checkpoints", Json()).save({}, 0)


def test_a_negative_step_is_refused(checkpoints: Checkpoints) -> None:
    with pytest.raises(ValueError, match="step must be 0 or more, got -1"):
        checkpoints.save({}, -1)


def test_a_kill_at_any_instant_leaves_a_whole_one(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    checkpoints = Checkpoints(folder, Json())
    checkpoints.save(state(0), 0)
    seed = random.Random(0)
    last = 0
    hit_a_save = 0
    for _ in range(20):
        child = subprocess.Popen(
            [sys.executable, __file__, str(folder)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(seed.uniform(0.0, 0.06))
        child.send_signal(signal.SIGKILL)
        child.communicate()
        hit_a_save += any(name.startswith(".writing") for name in names(folder))
        loaded = checkpoints.load()
        assert loaded is not None
        step, content = loaded
        assert content == state(step)
        assert step >= last
        last = step
    assert hit_a_save > 0, "no kill came in the middle of a save"
    checkpoints.save(state(last), last)
    assert not any(name.startswith(".writing") for name in names(folder))


if __name__ == "__main__":
    saving_for_ever(sys.argv[1])
