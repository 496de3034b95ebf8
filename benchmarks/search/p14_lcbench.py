"""P14: how good a configuration a search has found after the epochs of 5, 10 and 20 trainings.

`p14_lcbench.py FOLDER` runs every search on the tasks that are told and prints the table;
`--tasks tuning` takes those on which settings are chosen, `--methods` some searches. One of them
may be explr with settings: `--methods 'explr tuner/pruner=asha tuner.pruner.min_resource=1'`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from lcbench import TUNING, bench_of, task_of
from peers import PEERS
from simulation import Progress, run
from summary import table

SEEDS = 3
WORKERS = (1, 4)
EXPLR = "explr"


@dataclass(frozen=True)
class Job:
    """One search.

    Args:
        folder: folder of the surrogate.
        method: a key of `PEERS`, or `explr` and settings.
        task: the task.
        seed: its seed.
        workers: its number of workers.
    """

    folder: Path
    method: str
    task: str
    seed: int
    workers: int


@dataclass(frozen=True)
class Row:
    """What a search has found, see `Progress`, and the processor time that it took."""

    method: str
    task: str
    seed: int
    workers: int
    steps: list[tuple[int, float, float]]
    epochs: int
    trainings: int
    took_s: float


def main(arguments: argparse.Namespace) -> None:
    tasks = bench_of(arguments.folder).tasks
    told = [task for task in tasks if task not in TUNING]
    chosen = {"told": told, "tuning": list(TUNING), "all": tasks}.get(arguments.tasks)
    jobs = [
        Job(arguments.folder, method, task, seed, workers)
        for method in arguments.methods or [EXPLR, *PEERS]
        for workers in arguments.workers
        for task in (arguments.tasks.split(",") if chosen is None else chosen)
        for seed in range(arguments.seeds)
    ]
    rows = list(_kept(rows_of(jobs, arguments.processes), arguments.rows))
    print(table(rows))


def rows_of(jobs: list[Job], processes: int) -> Iterator[Row]:
    """Run searches in several processes."""
    with multiprocessing.get_context("spawn").Pool(processes, _begin) as pool:
        for number, row in enumerate(pool.imap(one, jobs)):
            if sys.stderr.isatty():
                print(f"\r{number + 1} of {len(jobs)} searches", end="", file=sys.stderr)
            yield row


def one(job: Job) -> Row:
    """Run one search."""
    begin = time.process_time()
    found = _searched(job)
    took_s = round(time.process_time() - begin, 3)
    return Row(job.method, job.task, job.seed, job.workers, took_s=took_s, **asdict(found))


def _searched(job: Job) -> Progress:
    task = task_of(job.folder, job.task)
    name, *overrides = job.method.split()
    if name == EXPLR:
        from explr_loop import search

        return search(task, overrides, job.seed, job.workers)
    return run(PEERS[job.method](task.ranges, job.seed, job.workers), task, job.workers)


def _begin() -> None:
    """Libraries use one core, and say nothing of what they will change."""
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
    warnings.simplefilter("ignore")


def _kept(rows: Iterable[Row], file: Path | None) -> Iterator[Row]:
    """The rows, which are also appended to a file, one a line."""
    for row in rows:
        if file is not None:
            with file.open("a") as kept:
                kept.write(json.dumps(asdict(row)) + "\n")
        yield row


def parser() -> argparse.ArgumentParser:
    """The arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of LCBench's surrogate")
    parser.add_argument("--tasks", default="told", help="told, tuning, all, or numbers of tasks")
    parser.add_argument("--methods", nargs="+", help=f"{EXPLR}, {', '.join(PEERS)}")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--workers", type=int, nargs="+", default=WORKERS)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--rows", type=Path, help="a file to append a line to for each search")
    return parser


if __name__ == "__main__":
    main(parser().parse_args())
