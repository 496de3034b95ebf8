"""P11: what a trial costs at number 5,000 against number 100: random sampler, ten reports.

All goes through explr's study, its journal and its loop; the trial itself is ten reports in this
process, and comes to its end whatever the pruner says. In the two windows that are compared, trials
run without a pruner and with the default one in turn; between the windows, without.
"""

from __future__ import annotations

import time
from collections import defaultdict
from statistics import median

from _timing import place, pretty, verdict
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import RandomSampler

from explr.tuning.base import Job, Outcome
from explr.tuning.loop import Limits, SweepLoop
from explr.tuning.search_space import parse
from explr.tuning.study import Study

EARLY, LATE, AROUND = 100, 5000, 30
POINTS, AT_MOST = 10, 2.0
RANGES = {"lr": "tag(log, interval(1e-5, 1e-1))", "width": "choice(16, 32, 64)"}


def main() -> None:
    with place() as (folder, _):
        study = Study(folder, "bench", ["minimize"])
        study.use(RandomSampler(seed=0), None)
        space, _ = parse(RANGES)
        trials = TenReports(study)
        loop = SweepLoop(study, trials, lambda values: space, Limits(LATE + AROUND))
        trials.loop = loop
        loop.run()
    for pruner in trials.pruners:
        early, late = (median(trials.took[pruner, window]) for window in (EARLY, LATE))
        print(
            f"P11 a trial's overhead, {pruner}: trial {LATE} {pretty(late)}, "
            f"trial {EARLY} {pretty(early)}, ratio {late / early:.2f}, "
            f"target ≤ {AT_MOST:g}: {verdict(late / early <= AT_MOST)}",
            flush=True,
        )


class TenReports:
    """Runs trials that report ten times, and times the windows.

    Args:
        study: the study, whose pruner changes within the windows.
    """

    slots = 1

    def __init__(self, study: Study) -> None:
        self.pruners: dict[str, BasePruner] = {
            "no pruner": NopPruner(),
            "the default pruner": MedianPruner(n_startup_trials=5, n_warmup_steps=2),
        }
        self.took: dict[tuple[str, int], list[float]] = defaultdict(list)
        self.loop: SweepLoop | None = None
        self._study = study
        self._ended: list[tuple[Job, Outcome]] = []
        self._window: tuple[str, int] | None = None
        self._ended_at = 0.0

    def start(self, job: Job) -> None:
        """See `Executor.start`."""
        assert self.loop is not None
        for step in range(POINTS):
            self.loop.report(job.key, step, job.params["lr"] + 1 / (step + 1))
        self._ended.append((job, Outcome("COMPLETE", (job.params["lr"],))))

    def wait(self, timeout_s: float | None) -> list[tuple[Job, Outcome]]:
        """See `Executor.wait`; a trial's time goes from here to here."""
        ended, self._ended = self._ended, []
        now = time.perf_counter()
        if self._window is not None:
            self.took[self._window].append(now - self._ended_at)
        following = ended[0][0].trial + 1
        names = list(self.pruners)
        near = [window for window in (EARLY, LATE) if abs(following - window) <= AROUND]
        name = names[following % len(names)] if near else names[0]
        self._study.use(None, self.pruners[name])
        self._window = (name, near[0]) if near else None
        self._ended_at = time.perf_counter()
        return ended

    def stop(self, job: Job, grace_s: float) -> None:
        """See `Executor.stop`."""

    def close(self) -> None:
        """See `Executor.close`."""


if __name__ == "__main__":
    main()
