"""What this machine, or the container that this process is in, has for it; and what others hold."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

from explr.utils.nvml import GIB

ROOT = Path("/")


def available_gb(root: Path = ROOT) -> float:
    """GiB of memory that can be taken now, by this machine and by every cgroup above this process.

    Args:
        root: where `proc` and `sys` lie.
    """
    import psutil

    return float(min(psutil.virtual_memory().available, cgroup_room(root))) / GIB


def cpu_cores(root: Path = ROOT) -> int:
    """CPU cores that this process may use, by its affinity and by every cgroup above it.

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
    """Bytes that the cgroups of this process leave it, files that can be dropped included.

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
    """GiB that some processes hold together; what they share with others counts in parts.

    Args:
        processes: their numbers; one that is gone holds nothing.
    """
    import psutil

    held = 0
    for pid in processes:
        try:
            held += psutil.Process(pid).memory_full_info().pss
        except psutil.Error:
            continue  # it has ended meanwhile
    return held / GIB


def family(pid: int) -> list[int]:
    """A process and all that it started, as far as they still run."""
    import psutil

    try:
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.Error:
        return []


class OwnPeak:
    """The most memory that this process takes beyond what it was forked with."""

    def __init__(self) -> None:
        self._before = _status("RssAnon")

    @property
    def gb(self) -> float:
        """GiB so far; the code of libraries, which every process shares, is left out."""
        return max(0, _status("VmHWM") - _status("RssFile") - self._before) / GIB


def kills_for_memory() -> int:
    """How many processes the kernel has ended since it started because memory ran out."""
    _, _, rest = _text(ROOT / "proc" / "vmstat").partition("\noom_kill ")
    return int(rest.partition("\n")[0] or 0)


def _status(name: str) -> int:
    """A size in bytes that the kernel tells of this process."""
    for line in _text(ROOT / "proc" / "self" / "status").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


def _cgroups(controller: str, root: Path) -> Iterator[Path]:
    """The folder of this process's cgroup, and those above it; in a container, those it shows."""
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
    """Cores that a quota and its period, in microseconds, allow."""
    if len(words) == 2 and all(word.isdigit() for word in words):
        return int(words[0]) / int(words[1])
    return math.inf


def _text(path: Path) -> str:
    """Content of a file of the kernel's; nothing where it has none."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
