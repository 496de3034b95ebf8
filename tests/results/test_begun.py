"""The list of sweeps below EXPLR_HOME."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from explr.core.folders import COMMAND
from explr.results import begun
from explr.results.begun import note_sweep, sweeps_begun


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPLR_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(begun, "MOST", 3)


def sweep(folder: Path) -> Path:
    folder.mkdir()
    (folder / COMMAND).write_text("{}")
    note_sweep(folder)
    # The clock of file times may be slower than this test.
    for place, file in enumerate(reversed(begun._newest_first(folder.parent / "home/sweeps"))):
        os.utime(file, ns=(place, place))
    return folder


def test_the_newest_first_and_no_more_than_that(tmp_path: Path) -> None:
    folders = [sweep(tmp_path / name) for name in "abcd"]
    assert list(sweeps_begun()) == [folders[3], folders[2], folders[1]]
    assert len([*(tmp_path / "home" / "sweeps").iterdir()]) == 3


def test_folders_that_are_gone_and_damaged_entries_are_passed_over(tmp_path: Path) -> None:
    gone, moved, kept = (sweep(tmp_path / name) for name in "abc")
    shutil.rmtree(gone)
    moved.rename(tmp_path / "elsewhere")
    (tmp_path / "home" / "sweeps" / "0.json").write_text("{")
    assert list(sweeps_begun()) == [kept]


def test_a_home_that_cannot_be_written_costs_a_sweep_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("EXPLR_HOME", str(tmp_path / "file"))
    note_sweep(tmp_path)
    assert list(sweeps_begun()) == []
