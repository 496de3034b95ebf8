"""Waits in the place of an MLflow server until it is wanted, and then becomes it.

The start of a server takes some seconds of processor time. Trainings that take every core would
lose them to a page that nobody may ever open. So the server starts as soon as a core is idle, or a
browser connects: the kernel accepts connections for it from the first moment.
"""

from __future__ import annotations

import os
import select
import sys

from explr.utils.priority import LOWEST, all_cores_are_busy, lower_priority

POLL_S = 1.0


def wait(listener: int) -> None:
    """Wait until somebody connects, or a core is idle; then nobody waits for the server.

    Args:
        listener: descriptor of the socket that the server will accept connections from.
    """
    all_cores_are_busy()  # the next call tells of the time since this one
    while not select.select([listener], [], [], POLL_S)[0]:
        if not all_cores_are_busy():
            lower_priority(os.getpid(), LOWEST)
            return


def main() -> None:
    """Wait at the socket on standard input, and run the command in the arguments."""
    wait(sys.stdin.fileno())
    os.execv(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
