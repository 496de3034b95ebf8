"""Which of Ray's own snapshots of a sweep can be resumed from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from explr.sweep.ray.trainable import has_snapshot


def pickled(module: str, name: str) -> dict[str, str]:
    """A function as Ray's snapshots hold it, pickled by its name."""
    return {"_type": "CLOUDPICKLE_FALLBACK", "value": f"c{module}\n{name}\n)R.".encode().hex()}


def snapshot(folder: Path, **runner: Any) -> Path:
    file = folder / "experiment_state-1.json"
    file.write_text(json.dumps({"trial_data": [["{}", "{}"]], "runner_data": runner}))
    return file


def test_a_snapshot_that_a_kill_left_torn_is_none(tmp_path: Path) -> None:
    assert not has_snapshot(tmp_path)
    file = snapshot(tmp_path)
    assert has_snapshot(tmp_path)
    content = file.read_bytes()
    for length in range(len(content)):
        file.write_bytes(content[:length])
        assert not has_snapshot(tmp_path)


def test_a_snapshot_without_a_trial_is_none(tmp_path: Path) -> None:
    (tmp_path / "experiment_state-1.json").write_text('{"trial_data": []}')
    assert not has_snapshot(tmp_path)


@pytest.mark.parametrize("module", ["explr.left.with_the_past", "explr.core.errors"])
def test_a_snapshot_of_another_version_is_none(
    tmp_path: Path, module: str, caplog: pytest.LogCaptureFixture
) -> None:
    snapshot(tmp_path, _stopper=pickled(module, "live_watch"))
    assert not has_snapshot(tmp_path)
    assert "from another version, schedulers start anew" in caplog.text


def test_a_snapshot_that_names_the_stopper_of_earlier_versions_is_read(tmp_path: Path) -> None:
    snapshot(tmp_path, _stopper=pickled("explr.sweep.ray.search", "_live_watch"))
    (tmp_path / "tuner.pkl").write_bytes(b"what this version does not read")
    (tmp_path / "study-search-1.pkl").write_bytes(b"nor this")
    assert has_snapshot(tmp_path)
