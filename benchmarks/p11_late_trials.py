"""P11: what a trial costs late in a long sweep against trial 100, with the random sampler.

All goes through explr's study, its journal and its loop; the trial itself is some reports in this
process, and comes to its end whatever the pruner says. One sweep without a pruner and one with the
default. `_journals.py` makes the trials before those that are measured. Beside it: how long the
journal of the long sweep takes to open, and the report of it to be written. `p11_late_trials.py
20000x100 …` takes other numbers of trials and reports.
"""

from __future__ import annotations

import sys
import time
import warnings
from pathlib import Path
from statistics import median

from _journals import STUDY, Size, sizes_of, write_journal
from _pruners import pruner_option
from _timing import place, pretty, verdict
from optuna.samplers import RandomSampler

from explr.core.folders import REPORT
from explr.results.report.write import write_report
from explr.results.sweep import read_sweep
from explr.tuning.loop import SweepLoop
from explr.tuning.search_space import parse
from explr.tuning.study import Study
from explr.tuning.trial import Job, Outcome
from explr.tuning.trial_account import Limits

EARLY, AROUND, AT_MOST = 100, 30, 1.2
OPENS_S = 10.0
PRUNERS = ("none", "asha")
SEARCHED = ("lr=tag(log, interval(1e-5, 1e-1))", "width=choice(16, 32, 64)")


def main(sizes: list[Size]) -> None:
    warnings.simplefilter("ignore")
    for size in sizes:
        for name in PRUNERS:
            with place() as (folder, _):
                early, _ = sweep(folder / "early", Size(EARLY, size.reports), name)
                late, opened_s = sweep(folder / "late", size, name)
                page_s, charts_s = (reported(folder / "late", each) for each in (False, True))
                print(
                    f"P11 a trial's overhead, {size}, pruner {name}: "
                    f"trial {size.trials} {pretty(late)}, trial {EARLY} {pretty(early)}, "
                    f"ratio {late / early:.2f}, target ≤ {AT_MOST:g}: "
                    f"{verdict(late / early <= AT_MOST)}",
                    flush=True,
                )
        print(
            f"P11 {size}: opened in {pretty(opened_s)}, target ≤ {pretty(OPENS_S)}: "
            f"{verdict(opened_s <= OPENS_S)}; report written in {pretty(page_s)}, with charts "
            f"in {pretty(charts_s)}",
            flush=True,
        )


def sweep(folder: Path, size: Size, pruner: str) -> tuple[float, float]:
    """Run the last trials of a sweep, and some more, with an option of `tuner/pruner`.

    Returns:
        Seconds of the median trial, and seconds to open the journal.
    """
    folder.mkdir()
    write_journal(folder, SEARCHED, Size(size.trials - AROUND, size.reports))
    begin = time.perf_counter()
    study = Study(folder, STUDY, ["minimize"])
    opened_s = time.perf_counter() - begin
    study.use(RandomSampler(seed=0), pruner_option(pruner))
    space, _ = parse(dict(text.split("=", 1) for text in SEARCHED))
    loop = SweepLoop(study, lambda values: space, Limits(size.trials + AROUND))
    trials = Reporting(loop, size.reports)
    loop.run(trials)
    return median(trials.took), opened_s


def reported(folder: Path, charts: bool) -> float:
    """Seconds to write the report of a sweep, which must know all of its trials."""
    begin = time.perf_counter()
    write_report(folder, charts=charts)
    took_s = time.perf_counter() - begin
    assert f"Spent: {len(read_sweep(folder).trials)} trials" in (folder / REPORT).read_text()
    return took_s


class Reporting:
    """Runs trials that report, and times each.

    Args:
        loop: takes the reports.
        reports: reports of each trial.
    """

    slots = 1

    def __init__(self, loop: SweepLoop, reports: int) -> None:
        self.took: list[float] = []
        self._loop = loop
        self._reports = reports
        self._ended: list[tuple[Job, Outcome]] = []
        self._ended_at = time.perf_counter()

    def start(self, job: Job) -> None:
        """See `Executor.start`."""
        for step in range(self._reports):
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
    main(sizes_of(sys.argv[1:], (Size(5000, 10), Size(20000, 100))))
