"""What processes hold of GPUs, by NVML's real binding over a driver that knows made-up GPUs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from simulated_driver import DISPLAY, PROCESSES, TWO_GPUS, Card, build_driver, environment_with

LOOK = """\
import os, sys
from pathlib import Path
from explr.utils.gpu import HeldGpuMemory

own_numbers, device = sys.argv[1] == "host", sys.argv[2]
gpus = HeldGpuMemory([device], own_numbers)
file, pid, other = Path(os.environ["SIMULATED_GPU_PROCESSES"]), os.getpid(), os.getppid()
print(gpus.free_gb(device), gpus.held_gb(device, [pid], True))
file.write_text(f"0 {pid} {3 * 2**30}\\n0 {other} {2**30}\\n1 {pid} {5 * 2**30}\\n")
print(gpus.free_gb(device), gpus.held_gb(device, [pid], True))
print(gpus.held_gb(device, [pid], False), gpus.held_gb(device, [pid, other], False))
gpus.close()
"""


def look(folder: Path, cards: tuple[Card, ...], where: str, device: str) -> list[str]:
    environment = environment_with(build_driver(folder, cards))
    done = subprocess.run(
        [sys.executable, "-c", LOOK, where, device],
        env={**environment, PROCESSES: str(folder / "processes")},
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    return done.stdout.split()


def test_on_the_host_a_process_is_known_by_its_number(tmp_path: Path) -> None:
    cards = (Card(processes={os.getpid(): 1.0}), Card())
    assert look(tmp_path, cards, "host", "0") == ["30.0", "0.0", "26.0", "3.0", "3.0", "5.0"]


@pytest.mark.parametrize("device", ["1", "GPU-1"])
def test_only_the_gpu_that_was_asked_for(tmp_path: Path, device: str) -> None:
    assert look(tmp_path, TWO_GPUS, "host", device)[2:] == ["11.0", "5.0", "5.0", "5.0"]


def test_a_number_is_cudas_and_not_the_drivers(tmp_path: Path) -> None:
    assert look(tmp_path, (DISPLAY, Card()), "host", "0")[2:] == ["25.0", "5.0", "5.0", "5.0"]


def test_in_a_container_what_was_added_is_the_trials_if_it_is_alone(tmp_path: Path) -> None:
    found = look(tmp_path, (Card(), Card()), "container", "0")
    assert found == ["30.0", "0.0", "26.0", "4.0", "None", "None"]


def test_a_card_that_does_not_tell_its_users_is_looked_at_as_a_whole(tmp_path: Path) -> None:
    quiet = Card(knows_health=False)
    found = look(tmp_path, (quiet, quiet), "host", "0")
    assert found == ["30.0", "0.0", "26.0", "4.0", "None", "None"]


def test_a_card_that_tells_nothing(tmp_path: Path) -> None:
    silent = Card(memory_gb=None, knows_health=False)
    assert look(tmp_path, (silent, silent), "host", "0") == ["None"] * 6
