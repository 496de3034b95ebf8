"""Telling one process from another, so that nothing is ended that explr did not start.

A pid alone says nothing: it is given away again. A pid with the moment at which the process started
names one process, also from another process and at a later time.
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

if TYPE_CHECKING:
    import psutil


_POLL_S = 0.05
_EXEC_S = 2.0
_DEATH_S = 30.0
"""How long a killed process may take to be gone, which needs a core for a moment."""


@dataclass(frozen=True)
class ProcessIdentity:
    """One process, for good.

    Args:
        pid: its number.
        started: the moment at which it started; two are equal or not, nothing else can be said.
    """

    pid: int
    started: str


def identity_of(pid: int | None = None) -> ProcessIdentity:
    """The identity of the process that has `pid` now (default: this process).

    Raises:
        ProcessLookupError: there is none.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        return ProcessIdentity(process.pid, _start_of(process))
    except psutil.NoSuchProcess:
        raise ProcessLookupError(f"there is no process {pid}") from None


def is_alive(identity: ProcessIdentity) -> bool:
    """Whether this very process still runs.

    One that ended and was not waited for does not; one of whose threads any runs does.
    """
    return find(identity) is not None


def find(identity: ProcessIdentity) -> psutil.Process | None:
    """The running process that `identity` names, or None."""
    import psutil

    try:
        process = psutil.Process(identity.pid)
        same = _start_of(process) == identity.started
    except psutil.NoSuchProcess:
        return None
    return process if same and _runs(process) else None


def session_of(leader: ProcessIdentity, mark: tuple[str, str]) -> list[psutil.Process]:
    """The running processes of the session that `leader` opened, with or without the leader.

    Args:
        leader: the process that was started with `start_new_session=True`.
        mark: name and value of a variable in its environment that no other session has: once
            the leader is gone, its number may lead a stranger's session.
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
    """End processes: SIGTERM, then SIGKILL for those that still run after `grace_s` seconds.

    Each signal goes to the process that was found, never to another one that has its pid now.

    Returns:
        Those that run even then.
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
    for process in processes:  # takes leave of those that are children of this process
        with suppress(psutil.TimeoutExpired):
            process.wait(timeout=0)
    return running


def _start_of(process: psutil.Process) -> str:
    """The moment at which a process started, in words that no clock that is set can change.

    Linux counts it in ticks since it booted (proc(5), field 22 of /proc/PID/stat); in seconds since
    the epoch it would move with the clock. Other kernels note the time of day itself.
    """
    import psutil

    if sys.platform != "linux":
        return repr(process.create_time())
    try:
        fields = Path(f"/proc/{process.pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        raise psutil.NoSuchProcess(process.pid) from None
    ticks = int(fields.rpartition(b")")[2].split()[19])  # the name before it may hold anything
    return f"{ticks} after boot {_boot_id()}"


@cache
def _boot_id() -> str:
    """What tells this boot from all others; empty where the kernel does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _environment(process: psutil.Process) -> dict[str, str]:
    """Its variables; none can be seen for a moment while it becomes another program."""
    deadline = time.monotonic() + _EXEC_S
    while not (variables := process.environ()) and _runs(process) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return variables


def _runs(process: psutil.Process) -> bool:
    import psutil

    try:
        # A killed process shows as a zombie from when its main thread ends, and holds its ports
        # and its memory, that of a GPU too, until the last of its threads does.
        return process.is_running() and (
            process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1
        )
    except psutil.NoSuchProcess:
        return False
