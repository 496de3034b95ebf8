"""What NVML tells, through its real binding and a driver that knows made-up GPUs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from simulated_driver import (
    LAPTOP,
    LIBRARY_RM_VERSION_MISMATCH,
    TWO_GPUS,
    Card,
    build_driver,
    environment_with,
    no_driver,
)

from explr.utils.nvml import Driver, Gpu, GpuProcess

READ = "from explr.utils.nvml import read_driver; print(repr(read_driver()))"

NAMES = {"Driver": Driver, "Gpu": Gpu, "GpuProcess": GpuProcess}


def read_with(driver: Path) -> Driver:
    done = subprocess.run(
        [sys.executable, "-c", READ],
        env=environment_with(driver),
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    found = eval(done.stdout, NAMES)
    assert isinstance(found, Driver)
    return found


def test_an_rtx_5090_tells_all_of_it(tmp_path: Path) -> None:
    card = Card(processes={os.getpid(): 1.5, 2**22 + 1: 0.25})
    driver = read_with(build_driver(tmp_path, [card]))
    assert driver.state == "NVIDIA driver 570.195.03, CUDA 12.8"
    (gpu,) = driver.gpus
    assert gpu.architecture == "sm_120"
    assert (gpu.name, gpu.uuid) == ("NVIDIA GeForce RTX 5090", "GPU-0")
    assert (gpu.memory_total_gb, gpu.memory_used_gb, gpu.memory_free_gb) == (32, 2, 30)
    assert (gpu.utilization_percent, gpu.temperature_c) == (7, 41)
    assert (gpu.power_w, gpu.power_limit_w) == (61.5, 575)
    assert gpu.mig is None
    assert gpu.processes is not None
    own, stranger = gpu.processes
    assert (own.pid, own.memory_gb) == (os.getpid(), 1.5)
    assert own.name
    # A pid of the host's, seen from a container, has no name there.
    assert stranger == GpuProcess(2**22 + 1, None, 0.25)


def test_each_gpu_is_told_apart(tmp_path: Path) -> None:
    driver = read_with(build_driver(tmp_path, TWO_GPUS, version="580.65.06", cuda=13000))
    assert driver.cuda == (13, 0)
    assert [(gpu.index, gpu.memory_total_gb) for gpu in driver.gpus] == [(0, 32), (1, 16)]
    assert [gpu.architecture for gpu in driver.gpus] == ["sm_120", "sm_86"]
    assert [gpu.processes for gpu in driver.gpus] == [(), ()]


def test_what_a_card_does_not_support_is_unknown_and_the_rest_is_there(tmp_path: Path) -> None:
    (gpu,) = read_with(build_driver(tmp_path, [LAPTOP])).gpus
    assert (gpu.memory_total_gb, gpu.compute_capability) == (4, (8, 6))
    unknown = (gpu.utilization_percent, gpu.temperature_c, gpu.power_w, gpu.processes, gpu.mig)
    assert unknown == (None,) * 5


@pytest.mark.parametrize("fault", [LIBRARY_RM_VERSION_MISMATCH, 999])
def test_a_driver_that_refuses_says_why(tmp_path: Path, fault: int) -> None:
    driver = read_with(build_driver(tmp_path, fault=fault))
    assert (driver.mismatched, driver.missing) == (fault == LIBRARY_RM_VERSION_MISMATCH, False)
    assert driver.fault
    assert driver.gpus == ()
    assert ("rebooted" in driver.state) is driver.mismatched


@pytest.mark.slow
def test_no_driver_is_an_answer(tmp_path: Path) -> None:
    driver = read_with(no_driver(tmp_path))
    assert driver.missing
    assert driver.state == "there is no NVIDIA driver on this machine"
