"""Lowers the CPU priority of helper processes below that of trainings."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

NICENESS = 19
"""The lowest priority. At 10 the start of the server still slowed a busy training by an eighth.

On an idle core it makes no difference.
"""

_ATTEMPTS = 20
_PAUSE_S = 0.1


def lower_priority(pid: int) -> None:
    """Lower the CPU priority of a process and of those that it starts.

    On Linux each session has a scheduling group, and niceness counts only within the group. So the
    group's niceness is set too if the process leads the session (`sched(7)`, "The autogroup
    feature").

    Args:
        pid: a process, preferably started in its own session.
    """
    with suppress(OSError):  # not allowed, or not Linux: the priority stays
        os.setpriority(os.PRIO_PROCESS, pid, NICENESS)
    with suppress(OSError):
        if os.getsid(pid) == pid:
            _lower_group_priority(Path(f"/proc/{pid}/autogroup"))


def _lower_group_priority(autogroup: Path) -> None:
    """Write a group's niceness; Linux accepts one every 0.1 s from users other than root."""
    for _ in range(_ATTEMPTS):
        with suppress(BlockingIOError):
            autogroup.write_text(str(NICENESS))
            return
        time.sleep(_PAUSE_S)
