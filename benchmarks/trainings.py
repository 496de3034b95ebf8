"""Training functions for the benchmarks; they import no framework."""

from __future__ import annotations

import multiprocessing
import os
import time

from explr import TrainingContext

SLICES = 40
ROUNDS = 180_000_000
"""Rounds of an empty loop: some three seconds, so that the server starts within them."""
ROUNDS_AT_ONCE = 50_000
"""Rounds of an empty loop between two looks at the clock."""


def at_once(ctx: TrainingContext) -> float:
    """Print when the first line is reached."""
    print("started", time.monotonic_ns(), flush=True)
    return 0.0


def two_seconds(ctx: TrainingContext) -> float:
    """Sleeps two seconds in slices with a little work in between, and prints when it ends."""
    for step in range(SLICES):
        time.sleep(2 / SLICES)
        ctx.report(step, val_loss=sum(i * i for i in range(20_000)))
    print("ended", time.monotonic_ns(), flush=True)
    return 0.0


def on_every_core(ctx: TrainingContext) -> float:
    """Keeps every core busy with the same work, and prints when it ends."""
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_work) for _ in range(os.cpu_count() or 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print("ended", time.monotonic_ns(), flush=True)
    return 0.0


def _work() -> None:
    for _ in range(ROUNDS):
        pass


def a_metric_each_second(ctx: TrainingContext) -> float:
    """Counts rounds of work in two processes for each core, and logs the time of day meanwhile."""
    context = multiprocessing.get_context("fork")
    until = time.monotonic() + float(os.environ["BENCH_S"])
    counted = context.SimpleQueue()
    workers = [
        context.Process(target=_count, args=(until, counted))
        for _ in range(2 * (os.cpu_count() or 1) - 1)
    ]
    for worker in workers:
        worker.start()
    rounds = step = 0
    logged_at = 0.0
    while time.monotonic() < until:
        rounds += sum(1 for _ in range(ROUNDS_AT_ONCE)) // ROUNDS_AT_ONCE
        if time.monotonic() - logged_at >= 1:
            logged_at = time.monotonic()
            now = time.time()
            print("logged", now, flush=True)
            ctx.tracker.log_metric("clock", now, step=step)
            step += 1
    print("rounds", rounds + sum(counted.get() for _ in workers), flush=True)
    return 0.0


def _count(until: float, counted: multiprocessing.SimpleQueue[int]) -> None:
    os.setsid()
    rounds = 0
    while time.monotonic() < until:
        rounds += sum(1 for _ in range(ROUNDS_AT_ONCE)) // ROUNDS_AT_ONCE
    counted.put(rounds)
