"""P11: what a trial costs at number 5,000 against number 100: random sampler, ten reports.

All goes through explr's study, its journal and its loop; the trial itself is ten reports in this
process, and comes to its end whatever the pruner says. One sweep without a pruner and one with the
default; `p11_late_trials.py NAME …` takes other options of `tuner/pruner`.
"""

from __future__ import annotations

import sys
import time
import warnings
from statistics import median

from _pruners import pruner_option
from _timing import place, pretty, verdict
from optuna.samplers import RandomSampler

from explr.tuning.account import Limits
from explr.tuning.loop import SweepLoop
from explr.tuning.search_space import parse
from explr.tuning.study import Study
from explr.tuning.trial import Job, Outcome

EARLY, LATE, AROUND = 100, 5000, 30
POINTS, AT_MOST = 10, 2.0
PRUNERS = ("none", "median")
RANGES = {"lr": "tag(log, interval(1e-5, 1e-1))", "width": "choice(16, 32, 64)"}


def main(names: list[str]) -> None:
    warnings.simplefilter("ignore")
    for name in names:
        trials = sweep(name)
        early, late = (median(trials.took[end - AROUND : end + AROUND]) for end in (EARLY, LATE))
        print(
            f"P11 a trial's overhead, pruner {name}: trial {LATE} {pretty(late)}, "
            f"trial {EARLY} {pretty(early)}, ratio {late / early:.2f}, "
            f"target ≤ {AT_MOST:g}: {verdict(late / early <= AT_MOST)}",
            flush=True,
        )


def sweep(name: str) -> TenReports:
    """Run a sweep with an option of `tuner/pruner`."""
    with place() as (folder, _):
        study = Study(folder, "bench", ["minimize"])
        study.use(RandomSampler(seed=0), pruner_option(name))
        space, _ = parse(RANGES)
        loop = SweepLoop(study, lambda values: space, Limits(LATE + AROUND))
        trials = TenReports(loop)
        loop.run(trials)
    return trials


class TenReports:
    """Runs trials that report ten times, and times each.

    Args:
        loop: takes the reports.
    """

    slots = 1

    def __init__(self, loop: SweepLoop) -> None:
        self.took: list[float] = []
        self._loop = loop
        self._ended: list[tuple[Job, Outcome]] = []
        self._ended_at = time.perf_counter()

    def start(self, job: Job) -> None:
        """See `Executor.start`."""
        for step in range(POINTS):
            self._loop.report(job.key, step, job.params["lr"] + 1 / (step + 1))
        self._ended.append((job, Outcome("COMPLETE", (job.params["lr"],))))

    def wait(self, timeout_s: float | None) -> list[tuple[Job, Outcome]]:
        """See `Executor.wait`; a trial's time goes from here to here."""
        ended, self._ended = self._ended, []
        now = time.perf_counter()
        self.took.append(now - self._ended_at)
        self._ended_at = now
        return ended

    def stop(self, job: Job, grace_s: float) -> None:
        """See `Executor.stop`."""

    def close(self) -> None:
        """See `Executor.close`."""


if __name__ == "__main__":
    main(sys.argv[1:] or list(PRUNERS))
