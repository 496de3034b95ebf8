"""P14: how good a configuration a search has found after the epochs of 5, 10 and 20 trainings.

`p14_lcbench.py FOLDER` runs every search on the tasks that are told; `--tasks tuning` takes those
on which settings are chosen, `--methods` some searches. One of them may be explr with settings:
`--methods 'explr tuner/pruner=asha tuner.pruner.min_resource=1'`.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from lcbench import TUNING, bench_of, task_of
from peers import PEERS
from rows import EXPLR, Job, rows_of
from summary import draw, fill, report

SEEDS = (0, 1, 2)
WORKERS = (1, 4)
METHODS = (EXPLR, f"{EXPLR} tuner/pruner=median", f"{EXPLR} tuner/sampler=mftpe", *PEERS)
TARGETS = {5: 0.27, 10: 0.15, 20: 0.08}
"""Regret to reach with one worker, by trainings."""


def main(arguments: argparse.Namespace) -> None:
    tasks = bench_of(arguments.folder).tasks
    told = [task for task in tasks if task not in TUNING]
    chosen = {"told": told, "tuning": list(TUNING), "all": tasks}.get(arguments.tasks)
    jobs = [
        Job(task_of, (arguments.folder, task), method, seed, workers)
        for method in arguments.methods
        for workers in arguments.workers
        for task in (arguments.tasks.split(",") if chosen is None else chosen)
        for seed in arguments.seeds
    ]
    rows = list(rows_of(jobs, arguments.processes, arguments.rows))
    print(report("P14", rows, TARGETS))
    if arguments.page is not None:
        fill(arguments.page, "P14", rows, TARGETS)
    if arguments.picture is not None:
        draw(rows, arguments.picture)


def parser() -> argparse.ArgumentParser:
    """The arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of LCBench's surrogate")
    parser.add_argument("--tasks", default="told", help="told, tuning, all, or numbers of tasks")
    parser.add_argument("--methods", nargs="+", default=METHODS, help=", ".join(METHODS))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--workers", type=int, nargs="+", default=WORKERS)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--rows", type=Path, help="a file to append a line to for each search")
    parser.add_argument(
        "--page", type=Path, help="a page of the documentation to put the tables in"
    )
    parser.add_argument("--picture", type=Path, help="an SVG file to draw the regrets in")
    return parser


if __name__ == "__main__":
    main(parser().parse_args())
