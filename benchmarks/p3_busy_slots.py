"""P3: the busy share of 8 slots with 64 trials of skewed length, which sleep.

Lengths are log-normal with sigma 0.9, a mean of about 1 s, and cut at 4 s; they come from the fixed
seeds 0, 1 and 2, and belong to the trials' numbers. The share is the sum of the lengths by 8 times
the span from the first start to the last end. Beside it the bound: what a scheduler without any
overhead reaches with the same lengths in the same order, since the last trials leave slots empty.
The peer starts a batch when the one before it is done, and is run with the first seed only.
"""

from __future__ import annotations

import heapq
import json
import math
import random
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import fmean

from _sweeps import BARE_SWEEP, LR, run_sweep
from _timing import place, verdict

TRIALS, SLOTS, SEEDS = 64, 8, (0, 1, 2)
SIGMA, LONGEST_S, AT_LEAST = 0.9, 4.0, 0.9
OURS = ("hydra/sweeper=explr_optuna", "hydra/launcher=explr_local")
PEERS = ("hydra/sweeper=optuna", "hydra/launcher=joblib", f"hydra.launcher.n_jobs={SLOTS}")
BOTH = (f"hydra.sweeper.n_trials={TRIALS}", f"hydra.sweeper.n_jobs={SLOTS}", LR)


def main() -> None:
    drawn = [lengths(seed) for seed in SEEDS]
    with place(EXPLR_AUTOSTART="0") as (folder, environment):
        shares = [share((*BARE_SWEEP, *OURS, *BOTH), folder, environment, s) for s in drawn]
        try:
            version("hydra-joblib-launcher")
        except PackageNotFoundError:
            peer = "official joblib launcher not measured (install hydra-joblib-launcher)"
        else:
            command = (*BARE_SWEEP, *PEERS, *BOTH)
            peer = f"official joblib launcher {share(command, folder, environment, drawn[0]):.3f}"
    bounds = [bound(seconds) for seconds in drawn]
    print(
        f"P3 busy share of {SLOTS} slots (mean of {len(SEEDS)} fixed seeds): "
        f"explr {fmean(shares):.3f} ({', '.join(f'{value:.3f}' for value in shares)}), "
        f"bound {fmean(bounds):.3f} ({', '.join(f'{value:.3f}' for value in bounds)}), "
        f"{fmean(shares) / fmean(bounds):.3f} of the bound, {peer}, "
        f"target ≥ {AT_LEAST:g}: {verdict(fmean(shares) >= AT_LEAST)}",
        flush=True,
    )


def lengths(seed: int) -> list[float]:
    """How long each trial takes, in seconds."""
    draw = random.Random(seed)
    middle = -(SIGMA**2) / 2  # the mean of a log-normal is exp(middle + sigma² / 2)
    return [min(math.exp(draw.gauss(middle, SIGMA)), LONGEST_S) for _ in range(TRIALS)]


def share(
    command: tuple[str, ...], folder: Path, environment: dict[str, str], seconds: list[float]
) -> float:
    """The busy share of a sweep whose trials take so long."""
    swept = run_sweep(
        command, folder, {**environment, "BENCH_LENGTHS": json.dumps(seconds)}, TRIALS
    )
    begins, ends = zip(
        *(
            map(float, (swept.folder / str(number) / "times").read_text().split())
            for number in range(TRIALS)
        ),
        strict=True,
    )
    return sum(seconds) / (SLOTS * (max(ends) - min(begins)))


def bound(seconds: list[float]) -> float:
    """The share of a scheduler that fills a slot the moment it is free."""
    free_at = [0.0] * SLOTS
    for length in seconds:
        heapq.heappush(free_at, heapq.heappop(free_at) + length)
    return sum(seconds) / (SLOTS * max(free_at))


if __name__ == "__main__":
    main()
