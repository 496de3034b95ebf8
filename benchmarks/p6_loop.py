"""What logging costs a training loop: 1,000 steps a second, ten metrics a step.

The loop that logs nothing and the one that logs run alternately; a companion uploads to SQLite.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from statistics import median

from _timing import alternate, place, verdict

from explr.tracking.destination import Destination
from explr.tracking.run import TrackedRun, open_run

STEP_S = 0.001
STEPS, NAMES, PAIRS = 3000, 10, 9
AT_MOST = 0.015


def main() -> None:
    with place(EXPLR_AUTOSTART="0") as (folder, environment):
        os.environ.update(environment)
        turns = turns_of_a_step()
        run = begin(folder)
        while not run.position.run_id:
            time.sleep(0.05)
        first = iter(range(0, 10**9, STEPS))
        ours, bare = alternate(
            lambda: loop(turns, run, next(first)), lambda: loop(turns, None, 0), PAIRS
        )
        behind = run.journal.path.stat().st_size - run.position.offset
        run.close("FINISHED")
    share = median(one / other - 1 for one, other in zip(ours, bare, strict=True))
    print(
        f"P6 loop of {STEPS / median(bare):.0f} steps a second, {NAMES} metrics a step: "
        f"logging takes {share:.1%} of its speed while the companion ships "
        f"({behind / 1e6:.1f} MB behind at the end); target ≤ {AT_MOST:.1%}: "
        f"{verdict(share <= AT_MOST)}"
    )


def begin(folder: Path) -> TrackedRun:
    where = folder / "run"
    where.mkdir()
    return open_run(where, Destination(), experiment="bench", name="loop", params={}, tags={})


def turns_of_a_step() -> int:
    """Turns of `work` that take a step's time, at the best that the machine does."""
    took = []
    for _ in range(20):
        start = time.perf_counter()
        work(10_000)
        took.append(time.perf_counter() - start)
    return int(10_000 * STEP_S / min(took))


def work(turns: int) -> float:
    value = 0.5
    for _ in range(turns):
        value = 3.7 * value * (1 - value)
    return value


def loop(turns: int, run: TrackedRun | None, first: int) -> float:
    """Seconds that the steps took."""
    names = [f"metric{i}" for i in range(NAMES)]
    start = time.perf_counter()
    for step in range(first, first + STEPS):
        value = work(turns)
        if run is not None:
            run.tracker.log_metrics(dict.fromkeys(names, value), step=step)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
