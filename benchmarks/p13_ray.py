"""P13: a sweep on Ray through explr against plain Ray Tune, the same trials that sleep.

Plain Ray Tune runs at its best settings: its actors are used again, nothing is logged. Through
explr each trial has a process and a folder of its own, and Hydra's files in it. Both times run
from the first trial's start to the last one's end; the busy share of the slots is P3's, on Ray.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from _sweeps import BARE_SWEEP, LR, run_sweep
from _timing import HERE, checked, place, verdict
from p3_busy_slots import AT_LEAST, SEEDS, SLOTS, TRIALS, bound, lengths

AT_MOST = 1.1
OURS = (
    *BARE_SWEEP, "hydra/sweeper=explr_ray", f"hydra.sweeper.n_trials={TRIALS}",
    f"hydra.sweeper.n_jobs={SLOTS}", LR,
)  # fmt: skip


def main() -> None:
    ours, peers, bounds = [], [], []
    with place(EXPLR_AUTOSTART="0", RAY_USAGE_STATS_ENABLED="0") as (folder, environment):
        for seed in SEEDS:
            seconds = lengths(seed)
            bounds.append(bound(seconds))
            variables = {**environment, "BENCH_LENGTHS": json.dumps(seconds)}
            peer = folder / f"peer-{seed}"
            command = (sys.executable, str(HERE / "ray_sweep.py"), str(SLOTS))
            checked(command, folder, {**variables, "BENCH_FOLDER": str(peer)})
            peers.append(span(peer))
            ours.append(span(run_sweep(OURS, folder, variables, TRIALS).folder))
    busy = [sum(lengths(seed)) / SLOTS for seed in SEEDS]
    ratio = sum(ours) / sum(peers)
    share = mean_share(busy, ours)
    print(
        f"P13 {TRIALS} trials in {SLOTS} slots on Ray (mean of {len(SEEDS)} fixed seeds): explr "
        f"{fmean(ours):.2f} s, plain Ray Tune {fmean(peers):.2f} s, ratio {ratio:.2f}, "
        f"target ≤ {AT_MOST:g}: {verdict(ratio <= AT_MOST)}; busy share explr "
        f"{share:.3f}, plain Ray Tune {mean_share(busy, peers):.3f}, bound "
        f"{fmean(bounds):.3f}, target ≥ {AT_LEAST:g}: {verdict(share >= AT_LEAST)}",
        flush=True,
    )


def span(folder: Path) -> float:
    """Seconds from the start of the first trial to the end of the last."""
    begins, ends = zip(
        *(
            map(float, (folder / str(number) / "times").read_text().split())
            for number in range(TRIALS)
        ),
        strict=True,
    )
    return max(ends) - min(begins)


def mean_share(busy: Sequence[float], spans: Sequence[float]) -> float:
    """The mean busy share of the slots."""
    return fmean(one / other for one, other in zip(busy, spans, strict=True))


if __name__ == "__main__":
    main()
