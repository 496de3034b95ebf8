from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from simulated_driver import (
    LIBRARY_RM_VERSION_MISMATCH,
    TWO_GPUS,
    Card,
    build_driver,
    environment_with,
    no_driver,
)

from explr.utils.gpu import nvidia_gpu_count

COUNT = "from explr.utils.gpu import nvidia_gpu_count; print(nvidia_gpu_count())"
MEMORY = "from explr.utils.gpu import gpu_memory; print([gb and tuple(gb) for gb in gpu_memory()])"


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a driver library that knows two GPUs."""
    return build_driver(tmp_path_factory.mktemp("driver"), TWO_GPUS)


def printed(program: str, driver: Path, visible: str | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment_with(driver, visible),
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    return done.stdout.strip()


def count_with(driver: Path, visible: str | None = None) -> int:
    return int(printed(COUNT, driver, visible))


def test_counts_what_the_driver_has(driver: Path) -> None:
    assert count_with(driver) == 2


@pytest.mark.parametrize(
    ("visible", "count"),
    [
        ("", 0),
        ("-1", 0),
        ("1", 1),
        ("1,0", 2),
        ("0,-1,1", 1),
        ("2", 0),
        ("GPU-5a1b", 1),
        (" 0 , 1 ", 2),
    ],
)
def test_counts_what_cuda_may_see(driver: Path, visible: str, count: int) -> None:
    assert count_with(driver, visible) == count


def test_a_driver_that_does_not_answer_has_no_gpus(tmp_path: Path) -> None:
    assert count_with(build_driver(tmp_path, fault=LIBRARY_RM_VERSION_MISMATCH)) == 0


def test_a_card_that_keeps_its_memory_to_itself_counts_all_the_same(tmp_path: Path) -> None:
    assert count_with(build_driver(tmp_path, [Card(memory_gb=None), Card()])) == 2


@pytest.mark.parametrize("visible", ["", "-1"])
def test_hidden_gpus_need_no_driver(monkeypatch: pytest.MonkeyPatch, visible: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert nvidia_gpu_count() == 0


def test_no_driver_is_no_gpu(tmp_path: Path) -> None:
    assert count_with(no_driver(tmp_path)) == 0


def test_each_card_tells_what_of_its_memory_is_taken(tmp_path: Path) -> None:
    cards = [Card(), Card(memory_gb=None), Card(memory_gb=16)]
    told = printed(MEMORY, build_driver(tmp_path, cards))
    assert told == "[(2.0, 32.0), None, (2.0, 16.0)]"


def test_without_a_driver_there_is_no_memory_to_tell_of(tmp_path: Path) -> None:
    assert printed(MEMORY, no_driver(tmp_path)) == "[]"
