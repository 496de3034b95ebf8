"""Shared by the benchmarks: alternating runs, medians, one printed line, a temporary EXPLR_HOME.

explr and its peer run alternately in one session, so that other load on the machine affects both.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import psutil

PAIRS = 15
"""How often each side is run."""
HERE = Path(__file__).parent
EXPLR = str(Path(sys.executable).with_name("explr"))
BARE_APP = (sys.executable, str(HERE / "bare_app.py"))
TRAININGS = HERE / "trainings.py"
GONE_TIMEOUT_S = 120.0


def alternate(
    ours: Callable[[], float],
    peers: Callable[[], float],
    pairs: int = PAIRS,
    warm: bool = True,
) -> tuple[list[float], list[float]]:
    """Run both alternately, after one warm-up run of each.

    Args:
        ours: measures explr once, in seconds.
        peers: measures the peer once, in seconds.
        pairs: how often.
        warm: whether there is a warm-up run.

    Returns:
        What each of them measured, pair by pair.
    """
    if warm:
        ours(), peers()
    own: list[float] = []
    other: list[float] = []
    for number in range(pairs):
        # The order alternates, so that neither always runs after the other.
        for side in (0, 1) if number % 2 else (1, 0):
            (own if side else other).append(ours() if side else peers())
    return own, other


def print_ratio(
    name: str, own: Sequence[float], other: Sequence[float], peer: str, at_most: float
) -> None:
    """Print the line of a benchmark whose target is a ratio of medians."""
    ratio = median(own) / median(other)
    print(
        f"{name}: explr {pretty(median(own))}, {peer} {pretty(median(other))}, "
        f"ratio {ratio:.2f}, target ≤ {at_most:g}: {verdict(ratio <= at_most)}",
        flush=True,
    )


def verdict(met: bool) -> str:
    """How a target is reported."""
    return "met" if met else "missed"


def pretty(seconds: float) -> str:
    """A duration in a suitable unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if abs(seconds) >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % confidence interval of the median, for any distribution.

    Its ends are order statistics, chosen by the binomial distribution of how many values fall
    below the true median.
    """
    ordered = sorted(values)
    count = len(ordered)
    below, rank = 0.0, 0
    while (below := below + math.comb(count, rank) / 2**count) <= 0.025:
        rank += 1
    first = max(rank - 1, 0)
    return ordered[first], ordered[count - 1 - first]


@contextmanager
def place(**variables: str) -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder to run in, and an environment whose EXPLR_HOME lies below it.

    At the end, all processes with this EXPLR_HOME are killed, including companions and servers.

    Args:
        variables: environment variables to set beside it.
    """
    with tempfile.TemporaryDirectory(prefix="explr-bench-") as name:
        folder = Path(name)
        # explr's modules are compiled by the first run, as an installer compiles the peer's.
        left_out = ("MLFLOW_TRACKING_URI", "PYTHONDONTWRITEBYTECODE")
        inherited = {k: v for k, v in os.environ.items() if k not in left_out}
        try:
            yield folder, {**inherited, "EXPLR_HOME": str(folder / "home"), **variables}
        finally:
            end_all(folder / "home")


def started_after(
    command: Sequence[str], folder: Path, environment: dict[str, str], word: str
) -> float:
    """Run a program that prints `word` and the monotonic clock in nanoseconds.

    Returns:
        Seconds from the start of the process to the moment that it printed.
    """
    begin = time.monotonic_ns()
    output = checked(command, folder, environment)
    moment = next(line.split()[1] for line in output.splitlines() if line.startswith(word))
    return (int(moment) - begin) / 1e9


def whole(command: Sequence[str], folder: Path, environment: dict[str, str]) -> float:
    """Run a program; seconds from its start to its end."""
    begin = time.monotonic()
    checked(command, folder, environment)
    return time.monotonic() - begin


def checked(command: Sequence[str], folder: Path, environment: dict[str, str]) -> str:
    """Run a program to its end and return what it printed; give up if it fails."""
    done = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr.decode()}")
    return done.stdout.decode()


def wait_until_gone(home: Path) -> None:
    """Wait until nothing runs with this EXPLR_HOME: the next run must not be disturbed."""
    deadline = time.monotonic() + GONE_TIMEOUT_S
    while left := processes_of(home):
        if time.monotonic() > deadline:
            sys.exit(f"still there after {GONE_TIMEOUT_S:g} s: {left}")
        time.sleep(0.1)


def end_all(home: Path) -> None:
    """Kill all processes with this EXPLR_HOME, and those that they start meanwhile."""
    while processes := processes_of(home):
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, timeout=5)


def processes_of(home: Path) -> list[psutil.Process]:
    """What runs with this EXPLR_HOME, apart from this process."""
    found = []
    for process in psutil.process_iter():
        try:
            if (
                process.pid != os.getpid()
                and process.status() != psutil.STATUS_ZOMBIE
                and process.environ().get("EXPLR_HOME") == str(home)
            ):
                found.append(process)
        except psutil.Error:
            continue
    return found
