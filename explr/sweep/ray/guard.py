"""Kills what is left of Ray after its driver was killed.

Most of Ray's processes end with their driver, but its agents take a minute. The guard waits on a
pipe that closes when the driver ends in any way.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from explr.utils.processes import ProcessIdentity, find, identity_of


@contextmanager
def guarded() -> Iterator[None]:
    """Kill all processes that this one has started if it is killed within the block."""
    family = [f"{one.pid} {one.started}" for one in _family()]
    guard = subprocess.Popen(
        [sys.executable, "-P", "-m", "explr.sweep.ray.guard", *family],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield
    finally:
        assert guard.stdin is not None
        with suppress(BrokenPipeError):
            guard.stdin.write(b"done")
            guard.stdin.close()
        guard.wait()


def _family() -> Iterator[ProcessIdentity]:
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            if "explr.tracking" not in " ".join(child.cmdline()):  # companions outlive it
                yield identity_of(child.pid)


def main() -> None:
    """Wait for the driver; kill its processes unless it reports a normal end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.stdin.buffer.read():
        return
    for word in sys.argv[1:]:
        pid, _, started = word.partition(" ")
        with suppress(psutil.NoSuchProcess):
            if (left := find(ProcessIdentity(int(pid), started))) is not None:
                left.kill()


if __name__ == "__main__":
    main()
