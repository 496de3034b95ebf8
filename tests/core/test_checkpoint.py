from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from explr.core.checkpoint import KEPT, Checkpoints
from explr.core.errors import CheckpointError


class Json:
    suffix = ".json"

    def save(self, state: Any, path: Path) -> None:
        path.write_text(json.dumps(state))

    def load(self, path: Path) -> Any:
        return json.loads(path.read_text())


class HalfWritten(Json):
    """Tells when half of a file is written."""

    def save(self, state: Any, path: Path) -> None:
        text = json.dumps(state)
        with path.open("w") as file:
            file.write(text[: len(text) // 2])
            file.flush()
            sys.audit("half_written")
            file.write(text[len(text) // 2 :])


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints", Json())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_nothing_saved_is_none(checkpoints: Checkpoints, tmp_path: Path) -> None:
    assert checkpoints.load() is None
    assert not (tmp_path / "checkpoints").exists()


def test_a_checkpoint_of_another_framework_is_not_passed_over(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    class Other(Json):
        suffix = ".other"

    Checkpoints(tmp_path / "checkpoints", Other()).save({}, 3)
    with pytest.raises(CheckpointError, match=r"step-000000003.other was written by another"):
        checkpoints.load()


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


@pytest.mark.parametrize(
    ("keep", "max_bytes", "left"),
    [
        (4, None, [2, 3, 4, 5]),
        (9, None, [0, 1, 2, 3, 4, 5]),
        (9, 300, [3, 4, 5]),
        (2, 300, [4, 5]),
        (9, 0, [4, 5]),  # the latest and a fallback, whatever their size
    ],
)
def test_as_many_are_kept_as_asked_for_and_as_have_room(
    tmp_path: Path, keep: int, max_bytes: int | None, left: list[int]
) -> None:
    max_gb = None if max_bytes is None else max_bytes / 2**30
    checkpoints = Checkpoints(tmp_path, Json(), keep=keep, max_gb=max_gb)
    for step in range(6):
        checkpoints.save("x" * 98, step)
    assert [path.stat().st_size for path in tmp_path.glob("*.json")] == [100] * len(left)
    assert [int(path.stem[5:]) for path in sorted(tmp_path.glob("*.json"))] == left
    assert len(names(tmp_path)) == 2 * len(left), "their checksums alone are beside them"


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


@pytest.mark.slow
def test_a_kill_at_any_instant_leaves_a_whole_one(tmp_path: Path) -> None:
    saved_before, instants = 0, 0
    while saved_before < 2:  # two saves, so that the second one drops a checkpoint too
        folder = tmp_path / f"kill-{instants}"
        checkpoints = Checkpoints(folder, Json())
        for step in (0, 1):
            checkpoints.save({"step": step}, step)
        ended = subprocess.run(
            [sys.executable, __file__, str(folder), str(instants)], capture_output=True, text=True
        )
        saved_before = ended.stdout.count("saved")
        assert ended.returncode == (0 if saved_before == 2 else -signal.SIGKILL), ended.stderr

        loaded = checkpoints.load()
        assert loaded is not None
        step, content = loaded
        assert content == {"step": step}
        assert step - 1 in (saved_before, saved_before + 1), "what was saved is never lost"
        checkpoints.save({"step": step}, step)
        assert checkpoints.load() == (step, {"step": step})
        assert len(names(folder)) == 2 * KEPT, "nothing is left of the one that was killed"
        instants += 1
    assert instants > 20


def save_until_killed(folder: str, instant: int) -> None:
    """Save two checkpoints, and die with the `instant`th thing asked of the disk meanwhile."""
    checkpoints = Checkpoints(Path(folder), HalfWritten())
    left = instant

    def count(event: str, _: tuple[Any, ...]) -> None:
        nonlocal left
        if event.split(".")[0] in ("open", "os", "half_written"):
            if left == 0:
                signal.raise_signal(signal.SIGKILL)
            left -= 1

    sys.addaudithook(count)
    for step in (2, 3):
        checkpoints.save({"step": step}, step)
        os.write(1, b"saved\n")


if __name__ == "__main__":
    save_until_killed(sys.argv[1], int(sys.argv[2]))
