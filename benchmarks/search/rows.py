"""Runs searches in several processes, and keeps a row of each."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from simulation import Progress, Task, run

EXPLR = "explr"


@dataclass(frozen=True)
class Job:
    """One search.

    Args:
        task_of: makes the task of these arguments.
        arguments: the arguments; the last is the name of the task.
        method: a key of `PEERS`, or `explr` and settings.
        seed: its seed.
        workers: its number of workers.
    """

    task_of: Callable[..., Task]
    arguments: tuple[Any, ...]
    method: str
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

    @property
    def pair(self) -> tuple[str, int]:
        """What a row has in common with that of another method that it is compared with."""
        return self.task, self.seed


def rows_of(jobs: Sequence[Job], processes: int, file: Path | None) -> Iterator[Row]:
    """Run searches.

    Args:
        jobs: the searches.
        processes: how many run at the same time.
        file: where a line for each is appended.
    """
    with multiprocessing.get_context("spawn").Pool(processes, _begin) as pool:
        for number, row in enumerate(pool.imap(_one, jobs)):
            if sys.stderr.isatty():
                print(f"\r{number + 1} of {len(jobs)} searches", end="", file=sys.stderr)
            if file is not None:
                with file.open("a") as kept:
                    kept.write(json.dumps(asdict(row)) + "\n")
            yield row


def read_rows(files: Sequence[Path]) -> list[Row]:
    """The rows that `rows_of` has written."""
    return [Row(**json.loads(line)) for file in files for line in file.open()]


def _one(job: Job) -> Row:
    begin = time.process_time()
    found = _searched(job)
    took_s = round(time.process_time() - begin, 3)
    task = job.arguments[-1]
    return Row(job.method, task, job.seed, job.workers, took_s=took_s, **asdict(found))


def _searched(job: Job) -> Progress:
    from peers import PEERS, seeded

    task = job.task_of(*job.arguments)
    seeded(job.seed)
    name, *overrides = job.method.split()
    if name == EXPLR:
        from explr_loop import search

        return search(task, overrides, job.seed, job.workers)
    return run(PEERS[job.method](task.ranges, job.seed, job.workers), task, job.workers)


def _begin() -> None:
    """Libraries use one core, and say nothing of what they will change."""
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
    warnings.simplefilter("ignore")
