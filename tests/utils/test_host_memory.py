"""What is free and what is held of the host's memory, within cgroups as a kernel shows them."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from explr.utils.host import available_gb, cgroup_room, cpu_cores, family, held_gb

MIB = 2**20


def cgroup(root: Path, line: str, files: dict[str, str]) -> Path:
    """A machine whose process is in a cgroup, with files below `sys/fs/cgroup`."""
    (root / "proc" / "self").mkdir(parents=True, exist_ok=True)
    with (root / "proc" / "self" / "cgroup").open("a") as file:
        file.write(f"{line}\n")
    for name, text in files.items():
        path = root / "sys" / "fs" / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


def test_a_limit_of_cgroup_2_counts_with_what_can_be_dropped(tmp_path: Path) -> None:
    stat = f"anon {100 * MIB}\ninactive_file {50 * MIB}"
    inner = {"memory.max": "max", "memory.current": "5", "memory.stat": stat}
    outer = {"memory.max": f"{600 * MIB}", "memory.current": f"{200 * MIB}", "memory.stat": stat}
    root = cgroup(
        tmp_path,
        "0::/user.slice/job",
        {f"user.slice/job/{name}": text for name, text in inner.items()}
        | {f"user.slice/{name}": text for name, text in outer.items()},
    )
    assert cgroup_room(root) == 450 * MIB
    assert available_gb(root) == 450 / 1024


def test_the_tightest_of_several_limits_counts(tmp_path: Path) -> None:
    root = cgroup(
        tmp_path,
        "0::/a/b",
        {
            "a/memory.max": f"{300 * MIB}", "a/memory.current": f"{100 * MIB}",
            "a/b/memory.max": f"{900 * MIB}", "a/b/memory.current": "0",
        },
    )  # fmt: skip
    assert cgroup_room(root) == 200 * MIB


def test_a_limit_of_cgroup_1_within_a_container(tmp_path: Path) -> None:
    files = {
        "memory/memory.limit_in_bytes": f"{512 * MIB}",
        "memory/memory.usage_in_bytes": f"{128 * MIB}",
        "memory/memory.stat": f"total_inactive_file {28 * MIB}",
    }
    # The path is the host's; the container shows its own cgroup at the top.
    assert cgroup_room(cgroup(tmp_path, "4:memory:/docker/1234", files)) == 412 * MIB


def test_no_limit(tmp_path: Path) -> None:
    assert cgroup_room(tmp_path) == math.inf
    root = cgroup(tmp_path, "0::/", {"memory.current": "5"})
    assert cgroup_room(root) == math.inf
    assert 0 < available_gb(root) < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30


@pytest.mark.parametrize(
    ("line", "files"),
    [
        ("0::/job", {"job/cpu.max": "150000 100000", "cpu.max": "max 100000"}),
        (
            "3:cpu,cpuacct:/",
            {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"},
        ),
        ("0::/", {"cpu.max": "50000 100000"}),
    ],
)
def test_a_quota_of_cpu_time_counts_as_whole_cores(
    tmp_path: Path, line: str, files: dict[str, str]
) -> None:
    assert cpu_cores(cgroup(tmp_path, line, files)) == 1


def test_cores_without_a_quota_are_those_of_the_affinity(tmp_path: Path) -> None:
    files = {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}
    assert cpu_cores(cgroup(tmp_path, "3:cpu:/", files)) == len(os.sched_getaffinity(0))


SHARING = """
import multiprocessing, os
from explr.utils.host import family, held_gb

MIB = 2**20
here, there = multiprocessing.Pipe()

def hold(own_mib):
    own = bytearray(b"y") * (own_mib * MIB)
    there.send(None)
    there.recv()

shared = bytearray(b"x") * (120 * MIB)
context = multiprocessing.get_context("fork")
children = [context.Process(target=hold, args=(60,)) for _ in range(2)]
for child in children:
    child.start()
for _ in children:
    here.recv()
members = family(os.getpid())
assert {child.pid for child in children} == set(members) - {os.getpid()}
print(held_gb(members) * 1024)
for _ in children:
    here.send(None)
"""


def test_memory_that_processes_share_is_counted_once() -> None:
    """In a process of its own: that of the tests may have grown large, and has other children."""
    done = subprocess.run(
        [sys.executable, "-c", SHARING], capture_output=True, text=True, check=True
    )
    resident = 3 * 120 + 2 * 60
    assert 120 + 2 * 60 <= float(done.stdout) < resident
    assert held_gb([2**22 + 1]) == 0
    assert family(2**22 + 1) == []


def printed(code: str) -> str:
    """What a fresh Python prints; its peak is not that of the tests before."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=240
    ).stdout


@pytest.mark.slow
def test_a_peak_that_is_over_is_still_known() -> None:
    code = (
        "from explr.utils.host import OwnPeak\n"
        "peak = OwnPeak()\n"
        f"for _ in range(2): len(bytearray(b'x') * {400 * MIB})\n"
        "print(peak.gb)"
    )
    assert 0.39 < float(printed(code)) < 0.5


@pytest.mark.slow
def test_what_a_process_was_forked_with_is_not_its_own() -> None:
    code = (
        "import os\n"
        "from explr.utils.host import OwnPeak\n"
        f"inherited = bytearray(b'x') * {300 * MIB}\n"
        "if os.fork() == 0:\n"
        "    peak = OwnPeak()\n"
        f"    own = bytearray(b'x') * {100 * MIB}\n"
        "    os.write(1, str(peak.gb).encode())\n"
        "    os._exit(0)\n"
        "os.wait()\n"
    )
    assert 0.09 < float(printed(code)) < 0.2
