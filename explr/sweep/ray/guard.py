"""Ends what is left of a Ray whose driver was killed.

Ray's own processes follow their driver into death, but for its agents, which take a minute to
give up. The guard waits on a pipe that closes when the driver ends, however that happens.
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
    """Have every process end that this one has started by now, should it be killed meanwhile."""
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
            if "explr.tracking" not in " ".join(child.cmdline()):  # that one follows on purpose
                yield identity_of(child.pid)


def main() -> None:
    """Wait for the driver; end what it has left behind unless it says that it is done."""
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
