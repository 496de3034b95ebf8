"""Standing back behind the trainings of this machine."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

NICENESS = 19
"""How far to stand back: all the way. At 10 the server's start still took a busy training an
eighth of its speed; where a core is idle, it makes no difference."""

_ATTEMPTS = 20
_PAUSE_S = 0.1


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
            _stand_back_as_group(Path(f"/proc/{pid}/autogroup"))


def _stand_back_as_group(autogroup: Path) -> None:
    """Write a group's niceness; of all users but root, Linux takes one each tenth of a second."""
    for _ in range(_ATTEMPTS):
        with suppress(BlockingIOError):
            autogroup.write_text(str(NICENESS))
            return
        time.sleep(_PAUSE_S)
