"""P23: what `tuner.stop_when` saves on LCBench's curves, and what is lost by it.

Each search of explr's default runs 100 trials on a data set, one at a time. For each tolerance, in
percent points of the validation error, it is then asked when the search would have ended.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path
from statistics import fmean, median

from explr_loop import TableExecutor, equip
from lcbench import TUNING, DataSet, bench_of, task_of
from simulation import Workers

from explr import compose
from explr.tuning.loop import SweepLoop
from explr.tuning.search_space import parse
from explr.tuning.stopping.rule import StoppingRule
from explr.tuning.study import Study
from explr.tuning.trial_account import Limits

TRIALS = 100
TOLERANCES = (0.003, 0.01, 0.03, 0.1)

Ends = list[tuple[int, float | None]]
"""Of each trial the epochs, and the error; None if it was pruned."""


def main(arguments: argparse.Namespace) -> None:
    warnings.simplefilter("ignore")
    folder = arguments.folder
    tasks = [task_of(folder, name) for name in bench_of(folder).tasks if name not in TUNING]
    searches = [_ends(task, seed) for task in tasks for seed in range(arguments.seeds)]
    print("| stop_when | trials, median | epochs saved, mean | points lost, mean (median) |")
    print("| --- | --- | --- | --- |")
    for tolerance in TOLERANCES:
        trials, saved, lost = [], [], []
        for ends in searches:
            count = _count(ends, tolerance)
            trials.append(count)
            spent = sum(epochs for epochs, _ in ends[:count])
            saved.append(1 - spent / sum(epochs for epochs, _ in ends))
            lost.append(_best(ends[:count]) - _best(ends))
        told = f"{fmean(lost):.2f} ({median(lost):.2f})"
        print(f"| {tolerance:g} | {median(trials):g} | {fmean(saved):.0%} | {told} |")


def _ends(task: DataSet, seed: int) -> Ends:
    tuner = compose(["tuner=optuna", f"seed={seed}"]).tuner
    space, _ = parse(task.ranges)
    task.trainings = TRIALS  # no search spends more epochs
    pool = Workers(task, 1)
    with tempfile.TemporaryDirectory(prefix="explr-bench-") as folder:
        study = Study(Path(folder), f"bench-{seed}", ["minimize"])
        equip(study, tuner, space)
        loop = SweepLoop(study, lambda values: space, Limits(TRIALS), clock=lambda: pool.now)
        loop.run(TableExecutor(pool, loop))
        return [
            (len(each.intermediate_values), each.value if each.state.name == "COMPLETE" else None)
            for each in study.frozen()
        ]


def _count(ends: Ends, tolerance: float) -> int:
    rule = StoppingRule(minimize=True, least_gain=tolerance)
    for number, (_, error) in enumerate(ends):
        rule.ended(number, error)
        if rule.reason:
            return number + 1
    return len(ends)


def _best(ends: Ends) -> float:
    return min(error for _, error in ends if error is not None)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=2)
    main(parser.parse_args())
