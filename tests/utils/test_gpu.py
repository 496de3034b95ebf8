from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from simulated_driver import DRIVER_WITH_TWO_GPUS, build_driver

from explr.utils.gpu import nvidia_gpu_count

COUNT = "from explr.utils.gpu import nvidia_gpu_count; print(nvidia_gpu_count())"

DRIVER_MISMATCH = 18
"""NVML_ERROR_LIB_RM_VERSION_MISMATCH: the driver was updated, the machine not rebooted."""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a driver library that knows two GPUs."""
    return build_driver(tmp_path_factory.mktemp("driver"), DRIVER_WITH_TWO_GPUS)


def count_with(driver: Path, visible: str | None = None) -> int:
    return int(run_with(driver, COUNT, visible))


def run_with(driver: Path, code: str, visible: str | None = None) -> str:
    environment = {**os.environ, "LD_LIBRARY_PATH": str(driver)}
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    if visible is not None:
        environment["CUDA_VISIBLE_DEVICES"] = visible
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


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
    source = DRIVER_WITH_TWO_GPUS.replace(
        "flags) { return 0", f"flags) {{ return {DRIVER_MISMATCH}"
    )
    assert count_with(build_driver(tmp_path, source)) == 0


@pytest.mark.parametrize("visible", ["", "-1"])
def test_hidden_gpus_need_no_driver(monkeypatch: pytest.MonkeyPatch, visible: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert nvidia_gpu_count() == 0


def test_no_driver_is_no_gpu(tmp_path: Path) -> None:
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine has an NVIDIA driver")
    assert count_with(tmp_path) == 0


BUDGET = "from explr.utils.gpu import memory_budget_gb; print(memory_budget_gb({}))"


@pytest.mark.parametrize(
    ("gib", "configured", "budget"),
    [(32, None, 24.0), (16, None, 14.4), (16, 20, 20.0), (16, 0, 0.0)],
)
def test_the_default_budget_fits_the_smallest_card(
    tmp_path: Path, gib: int, configured: float | None, budget: float
) -> None:
    driver = build_driver(tmp_path, DRIVER_WITH_TWO_GPUS.replace("16ULL", f"{gib}ULL"))
    assert float(run_with(driver, BUDGET.format(configured))) == pytest.approx(budget)


def test_a_card_that_keeps_its_memory_to_itself_counts_all_the_same(tmp_path: Path) -> None:
    source = DRIVER_WITH_TWO_GPUS.replace("memory->used = 0;\n  return 0;", "return 3;")
    driver = build_driver(tmp_path, source)
    assert count_with(driver) == 2
    assert float(run_with(driver, BUDGET.format(None))) == 24.0
