"""P5: `ctx.tracker.log_metric` as the training loop sees it, while a companion uploads.

Beside it MLflow's own `mlflow.log_metric`, to SQLite too, at once and asynchronously; each of
these runs in a process of its own, which stands still while the others are measured.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles

from _timing import PAIRS, place, pretty, verdict

from explr.tracking.destination import Destination
from explr.tracking.run import TrackedRun, open_run

BURSTS, CALLS = 40, 50
"""Calls of explr's in a round: the pauses between the bursts let the companion ship meanwhile."""
PAUSE_S = 0.01
MLFLOW_CALLS = 20
MEDIAN_S, P99_S = 4e-6, 20e-6


def main() -> None:
    with place(EXPLR_AUTOSTART="0") as (folder, environment):
        os.environ.update(environment)
        peers = [Peer(folder, mode) for mode in ("synchronous", "asynchronous")]
        run = open_run(folder, Destination(), experiment="bench", name="bench", params={}, tags={})
        wait_until_shipped(run)
        own: list[float] = []
        other: list[list[float]] = [[] for _ in peers]
        for number in range(PAIRS + 1):
            measured = explr_round(run)
            wait_until_shipped(run)
            theirs = [peer.round() for peer in peers]
            if number:  # the first round warms up
                own += measured
                for values, more in zip(other, theirs, strict=True):
                    values += more
        run.close("FINISHED")
        for peer in peers:
            peer.end()
    middle, high = median(own), quantiles(own, n=100)[-1]
    at_once, queued = (median(values) for values in other)
    print(
        f"P5 log_metric ({len(own)} calls): explr {pretty(middle)}, "
        f"99th percentile {pretty(high)}; "
        f"MLflow on SQLite {pretty(at_once)} ({at_once / middle:.0f} times that), "
        f"asynchronous {pretty(queued)} ({queued / middle:.0f} times that); "
        f"target ≤ {pretty(MEDIAN_S)}, 99th percentile ≤ {pretty(P99_S)}: "
        f"{verdict(middle <= MEDIAN_S and high <= P99_S)}"
    )


def explr_round(run: TrackedRun) -> list[float]:
    """Time single calls, in seconds."""
    measured: list[float] = []
    for burst in range(BURSTS):
        measured += timed(run.tracker.log_metric, CALLS, burst * CALLS)
        time.sleep(PAUSE_S)
    return measured


def timed(log: Callable[[str, float, int], object], calls: int, first: int) -> list[float]:
    """Seconds that each call took."""
    clock = time.perf_counter_ns
    measured = []
    for step in range(first, first + calls):
        begin = clock()
        log("val_loss", 0.25, step)
        measured.append((clock() - begin) / 1e9)
    return measured


def wait_until_shipped(run: TrackedRun) -> None:
    """Wait until everything in the journal is uploaded to MLflow."""
    while run.position.offset < run.journal.path.stat().st_size:
        time.sleep(0.05)


class Peer:
    """MLflow's own call, in a process that measures a round whenever it is asked to."""

    def __init__(self, folder: Path, mode: str) -> None:
        store = f"sqlite:///{folder / mode}.db"
        self._process = subprocess.Popen(
            [sys.executable, __file__, mode, store],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._read()

    def round(self) -> list[float]:
        """Seconds that each call of a round took."""
        assert self._process.stdin is not None
        print("round", file=self._process.stdin, flush=True)
        return self._read()

    def end(self) -> None:
        """Stop the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _read(self) -> list[float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit("MLflow's own process ended")
        measured: list[float] = json.loads(line)
        return measured


def be_peer(mode: str, store: str) -> None:
    """What a peer's process does."""
    import mlflow

    synchronous = mode == "synchronous"
    mlflow.set_tracking_uri(store)
    mlflow.set_experiment("bench")
    with mlflow.start_run():
        print("[]", flush=True)
        for number, _ in enumerate(sys.stdin):
            measured = timed(
                lambda name, value, step: mlflow.log_metric(
                    name, value, step, synchronous=synchronous
                ),
                MLFLOW_CALLS,
                number * MLFLOW_CALLS,
            )
            if not synchronous:
                mlflow.flush_async_logging()
            print(json.dumps(measured), flush=True)


if __name__ == "__main__":
    be_peer(*sys.argv[1:]) if sys.argv[1:] else main()
