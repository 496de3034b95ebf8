"""P4: a fresh process for each trial, with its framework imported, from the start to the answer.

The trial adds two numbers in PyTorch, or in TensorFlow; the peer is a process that
`multiprocessing` spawns, as it must where the parent may have touched a GPU.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from statistics import median

from _timing import pretty, verdict

from explr.launching.pool import LocalPool

AT_MOST_S = 0.15
TRIALS, SPAWNS = 20, 3


def main() -> None:
    # TensorFlow greets on standard error, whatever its log level.
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}
    for package, trial in (("torch", with_torch), ("tensorflow", with_tensorflow)):
        own: list[float] = []
        other: list[float] = []
        with LocalPool(trial, [package]) as pool:
            forked(pool)
            for _ in range(SPAWNS):
                own += [forked(pool) for _ in range(TRIALS)]
                other.append(spawned(trial))
        print(
            f"P4 a fresh process with {package}: explr {pretty(median(own))}, "
            f"multiprocessing spawn {pretty(median(other))}, "
            f"ratio {median(own) / median(other):.3f}, "
            f"target ≤ {pretty(AT_MOST_S)}: {verdict(median(own) <= AT_MOST_S)}",
            flush=True,
        )


def forked(pool: LocalPool) -> float:
    """Seconds that a trial takes in a process forked from one that has imported the framework."""
    begin = time.perf_counter()
    pool.start(0, 1.0)
    (answer,) = pool.wait(60)
    assert answer.value == 2.0, answer
    return time.perf_counter() - begin


def spawned(trial: Callable[[float], float]) -> float:
    """Seconds that it takes in a process that `multiprocessing` spawns."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    begin = time.perf_counter()
    process = context.Process(target=answer_over, args=(theirs, trial))
    process.start()
    assert ours.recv() == 2.0
    process.join()
    return time.perf_counter() - begin


def answer_over(connection: Connection, trial: Callable[[float], float]) -> None:
    """What a spawned process does."""
    connection.send(trial(1.0))


def with_torch(value: float) -> float:
    """Uses PyTorch a little."""
    torch = importlib.import_module("torch")
    return float(torch.tensor([value, 1.0]).sum())


def with_tensorflow(value: float) -> float:
    """Uses TensorFlow a little."""
    tensorflow = importlib.import_module("tensorflow")
    return float(tensorflow.reduce_sum(tensorflow.constant([value, 1.0])))


if __name__ == "__main__":
    main()
