"""Keeps helper processes out of the way of trainings."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

LOWEST = 19
"""For what nobody waits for. At 10 the start of the server still slowed a busy training by an
eighth. On an idle core it makes no difference."""

LOW = 1
"""For what must get on also while trainings take every core. At 19 it would have a seventieth of
the weight of each, and import nothing within minutes."""

BUSY_PERCENT = 95.0
"""From which use of all cores on whatever one process takes is taken from another."""

_ATTEMPTS = 20
_PAUSE_S = 0.1


def lower_priority(pid: int, niceness: int) -> None:
    """Lower the CPU priority of a process and of those that it starts.

    On Linux each session has a scheduling group, and niceness counts only within the group. So the
    group's niceness is set too if the process leads the session (`sched(7)`, "The autogroup
    feature").

    Args:
        pid: a process, preferably started in its own session.
        niceness: `LOW` or `LOWEST`.
    """
    with suppress(OSError):  # not allowed, or not Linux: the priority stays
        os.setpriority(os.PRIO_PROCESS, pid, niceness)
    with suppress(OSError):
        if os.getsid(pid) == pid:
            _lower_group_priority(Path(f"/proc/{pid}/autogroup"), niceness)


def _lower_group_priority(autogroup: Path, niceness: int) -> None:
    """Write a group's niceness; Linux accepts one every 0.1 s from users other than root."""
    for _ in range(_ATTEMPTS):
        with suppress(BlockingIOError):
            autogroup.write_text(str(niceness))
            return
        time.sleep(_PAUSE_S)


def all_cores_are_busy() -> bool:
    """Whether this machine had next to no idle core since the last call in the same thread."""
    import psutil

    return psutil.cpu_percent() > BUSY_PERCENT
