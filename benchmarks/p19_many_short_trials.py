"""P19: 1,000 trials of 50 ms on 8 workers, beside `joblib.Parallel` with loky and no tuning at all.

explr's trials are those of a foreign Hydra app, each in a fresh process with its folder and Hydra's
files; joblib calls the same sleep in eight processes that stay. Starts and ends do not count.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from _sweeps import BARE_SWEEP, LR, run_sweep
from _timing import place, print_ratio

TRIALS, WORKERS, LENGTH_S = 1000, 8, 0.05
AT_MOST = 1.25
OURS = (
    *(*BARE_SWEEP, "hydra/sweeper=explr_optuna", f"hydra.sweeper.n_trials={TRIALS}"),
    *("hydra/launcher=explr_local", f"hydra.sweeper.n_jobs={WORKERS}", LR),
)


def main() -> None:
    with place(EXPLR_AUTOSTART="0", BENCH_LENGTHS=json.dumps([LENGTH_S] * TRIALS)) as where:
        folder, environment = where
        swept = run_sweep(OURS, folder, environment, TRIALS)
        times = [read_times(swept.folder / str(number) / "times") for number in range(TRIALS)]
    own = max(end for _, end in times) - min(begin for begin, _ in times)
    print_ratio(f"P19 {TRIALS:,} trials of 50 ms", [own], [joblib_s()], "joblib", AT_MOST)


def read_times(file: Path) -> tuple[float, float]:
    """When a trial began and ended, in seconds since the epoch."""
    begin, end = map(float, file.read_text().split())
    return begin, end


def joblib_s() -> float:
    """Seconds that joblib takes, with processes that have started."""
    from joblib import Parallel, delayed

    with Parallel(n_jobs=WORKERS, backend="loky") as parallel:
        parallel(delayed(time.sleep)(LENGTH_S) for _ in range(WORKERS))
        begin = time.perf_counter()
        parallel(delayed(time.sleep)(LENGTH_S) for _ in range(TRIALS))
        return time.perf_counter() - begin


if __name__ == "__main__":
    main()
