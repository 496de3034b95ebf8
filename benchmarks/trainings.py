"""Training functions for the benchmarks; they import no framework."""

from __future__ import annotations

import multiprocessing
import os
import time

from explr import TrainingContext

SLICES = 40
ROUNDS = 180_000_000
"""Rounds of an empty loop: some three seconds, so that the server starts within them."""


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
