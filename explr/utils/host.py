"""Memory and CPU cores of this machine or container, and memory of processes."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

from explr.utils.nvml import GIB

ROOT = Path("/")


def available_gb(root: Path = ROOT) -> float:
    """GiB of free memory, limited by the machine and by every cgroup of this process.

    Args:
        root: where `proc` and `sys` lie.
    """
    import psutil

    return float(min(psutil.virtual_memory().available, cgroup_room(root))) / GIB


def cpu_cores(root: Path = ROOT) -> int:
    """CPU cores that this process may use, limited by its affinity and every cgroup.

    Args:
        root: where `proc` and `sys` lie.
    """
    quotas = [
        quota
        for folder in _cgroups("cpu", root)
        for quota in (
            _quota(_text(folder / "cpu.max").split()),
            _quota([_text(folder / f"cpu.cfs_{part}_us") for part in ("quota", "period")]),
        )
    ]
    return max(1, math.floor(min([len(os.sched_getaffinity(0)), *quotas])))


def cgroup_room(root: Path = ROOT) -> float:
    """Bytes that the cgroups of this process still allow; droppable page cache counts as free.

    The files are described in the kernel's documentation, `cgroup-v1/memory` and `cgroup-v2`.

    Args:
        root: where `proc` and `sys` lie.
    """
    room = math.inf
    for folder in _cgroups("memory", root):
        for limit, usage, droppable in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            most, taken = _text(folder / limit), _text(folder / usage)
            if most.isdigit() and taken.isdigit():
                stat = dict(line.split() for line in _text(folder / "memory.stat").splitlines())
                room = min(room, max(0, int(most) - int(taken) + int(stat.get(droppable, 0))))
    return room


def held_gb(processes: list[int]) -> float:
    """GiB that processes use together; shared pages count in proportion (PSS).

    Args:
        processes: their pids; one that has exited counts as 0.
    """
    import psutil

    held = 0
    for pid in processes:
        try:
            held += psutil.Process(pid).memory_full_info().pss
        except psutil.Error:
            continue  # it has exited
    return held / GIB


def family(pid: int) -> list[int]:
    """Pids of a process and its descendants; empty if it has exited."""
    import psutil

    try:
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.Error:
        return []


class OwnPeak:
    """Peak memory of this process beyond what it had at the fork."""

    def __init__(self) -> None:
        self._before = _status("RssAnon")

    @property
    def gb(self) -> float:
        """GiB so far, without the code of libraries, which processes share."""
        return max(0, _status("VmHWM") - _status("RssFile") - self._before) / GIB


def kills_for_memory() -> int:
    """Number of processes that the OOM killer has killed since boot."""
    _, _, rest = _text(ROOT / "proc" / "vmstat").partition("\noom_kill ")
    return int(rest.partition("\n")[0] or 0)


def _status(name: str) -> int:
    """A size in bytes from `/proc/self/status`."""
    for line in _text(ROOT / "proc" / "self" / "status").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


def _cgroups(controller: str, root: Path) -> Iterator[Path]:
    """Folders of this process's cgroup and its parents, as far as a container shows them."""
    mounted = root / "sys" / "fs" / "cgroup"
    for line in _text(root / "proc" / "self" / "cgroup").splitlines():
        number, names, path = line.split(":", 2)
        if number == "0":
            top = mounted
        elif controller in names.split(","):
            top = mounted / controller
        else:
            continue
        inner = Path(path.lstrip("/"))
        yield from (top / each for each in (inner, *inner.parents))


def _quota(words: list[str]) -> float:
    """Cores that a quota and a period, both in microseconds, allow."""
    if len(words) == 2 and all(word.isdigit() for word in words):
        return int(words[0]) / int(words[1])
    return math.inf


def _text(path: Path) -> str:
    """Content of a kernel file; empty if it cannot be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
