"""Identifies processes, so that explr stops only those that it started.

A pid alone is not enough, since the kernel reuses it. A pid with the start time names one process.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from explr.core.claims import start_ticks

if TYPE_CHECKING:
    import psutil


_POLL_S = 0.05
_EXEC_S = 2.0
_DEATH_S = 30.0
"""Seconds that a killed process may take to exit."""


@dataclass(frozen=True)
class ProcessIdentity:
    """Names one process uniquely.

    Args:
        pid: its pid.
        started: its start time, to be compared for equality only.
    """

    pid: int
    started: str


def identity_of(pid: int | None = None) -> ProcessIdentity:
    """The identity of the process with this pid (default: this process).

    Raises:
        ProcessLookupError: there is no such process.
    """
    number = os.getpid() if pid is None else pid
    if (started := _start_of(number)) is None:
        raise ProcessLookupError(f"there is no process {pid}")
    return ProcessIdentity(number, started)


def is_alive(identity: ProcessIdentity) -> bool:
    """Whether the process still runs.

    A zombie does not run, unless one of its threads does.
    """
    return find(identity) is not None


def find(identity: ProcessIdentity) -> psutil.Process | None:
    """The running process with this identity, or None."""
    import psutil

    try:
        process = psutil.Process(identity.pid)
        same = _start_of(identity.pid) == identity.started
    except psutil.NoSuchProcess:
        return None
    return process if same and _runs(process) else None


def python_path() -> str:
    """`PYTHONPATH` of a process that must find this explr whatever its working directory is."""
    import explr

    paths = [os.path.abspath(p) for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    return os.pathsep.join([*paths, str(Path(explr.__file__).resolve().parent.parent)])


def session_of(leader: ProcessIdentity, mark: tuple[str, str]) -> list[psutil.Process]:
    """The running processes of a session, even if its leader has exited.

    Args:
        leader: the process that was started with `start_new_session=True`.
        mark: name and value of an environment variable that only this session has: once the
            leader has exited, its pid may lead another session.
    """
    import psutil

    found = [process for process in [find(leader)] if process is not None]
    name, value = mark
    for pid in psutil.pids():
        try:
            if pid == leader.pid or os.getsid(pid) != leader.pid:
                continue
            process = psutil.Process(pid)
            if _environment(process).get(name) == value and _runs(process):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, ProcessLookupError, PermissionError):
            continue
    return found


def end(processes: Sequence[psutil.Process], grace_s: float) -> list[psutil.Process]:
    """Stop processes: SIGTERM, then SIGKILL for those that still run after `grace_s` seconds.

    No signal goes to another process that has reused a pid.

    Returns:
        Those that still run after that.
    """
    import psutil

    running = list(processes)
    for send, patience_s in (
        (psutil.Process.terminate, grace_s),
        (psutil.Process.kill, max(grace_s, _DEATH_S)),
    ):
        for process in running:
            with suppress(psutil.NoSuchProcess):
                send(process)
        deadline = time.monotonic() + patience_s
        while (running := [p for p in running if _runs(p)]) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
    for process in processes:  # reaps those that are children of this process
        with suppress(psutil.TimeoutExpired):
            process.wait(timeout=0)
    return running


def _start_of(pid: int) -> str | None:
    """The start time of a process, independent of changes to the clock; None if there is none.

    Linux gives it in ticks since boot, without psutil, whose import would slow down every start.
    Other systems give the time of day.
    """
    if sys.platform == "linux":
        ticks = start_ticks(pid)
        return None if ticks is None else f"{ticks} after boot {_boot_id()}"
    import psutil

    try:
        return repr(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return None


@cache
def _boot_id() -> str:
    """Linux's id of this boot; empty if it cannot be read."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _environment(process: psutil.Process) -> dict[str, str]:
    """Environment of a process; it is empty for a moment during `exec`."""
    deadline = time.monotonic() + _EXEC_S
    while not (variables := process.environ()) and _runs(process) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return variables


def _runs(process: psutil.Process) -> bool:
    import psutil

    try:
        # A killed process is a zombie once its main thread has exited, but keeps its ports, memory
        # and GPU memory until its last thread has.
        return process.is_running() and (
            process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1
        )
    except psutil.NoSuchProcess:
        return False
