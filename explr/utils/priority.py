"""Standing back behind the trainings of this machine."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

NICENESS = 19
"""How far to stand back: all the way. At 10 the server's start still took a busy training an
eighth of its speed; where a core is idle, it makes no difference."""


def stand_back(pid: int) -> None:
    """Give a process less of a busy machine, and all that it starts.

    A process that leads a session has a scheduling group of its own on Linux, within which alone
    its niceness counts; so the group's is set too (`sched(7)`, "The autogroup feature"). The group
    of a session that others lead is theirs, and stays as it is.

    Args:
        pid: a process, best started with a session of its own.
    """
    with suppress(OSError):  # not allowed, or not Linux: it works at its usual pace
        os.setpriority(os.PRIO_PROCESS, pid, NICENESS)
    with suppress(OSError):
        if os.getsid(pid) == pid:
            Path(f"/proc/{pid}/autogroup").write_text(str(NICENESS))
