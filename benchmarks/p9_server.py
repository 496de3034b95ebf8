"""P9: what starting the MLflow server adds to a run, from its start to the return of `train_model`.

The same training with the server's autostart and without it, in turn; no server runs when a run
begins. First a training that mostly sleeps, as one on a GPU leaves the cores alone, in a new
EXPLR_HOME. Then one that keeps every core busy, and so has to share them, where a store exists
already: the server waits for its end then.

What is added counts as nothing when 0 lies in, or above, the 95 % interval of the median of the
differences between the two runs of a pair. Beside it, how long the server takes to answer where it
is waited for.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from statistics import median

import psutil
from _timing import (
    EXPLR,
    TRAININGS,
    alternate,
    checked,
    median_interval,
    place,
    pretty,
    started_after,
    verdict,
)

from explr.tracking.mlflow.serving.server_process import answers, listen

SERVER_STARTS = 3
PAIRS = 9
"""The fewest whose 95 % interval of the median does not reach from the least to the greatest."""


def main() -> None:
    with place(EXPLR_AUTOSTART="0") as (folder, environment):
        checked(
            (EXPLR, f"train_model={TRAININGS}:at_once", "tracking.drain_timeout_s=120"),
            folder,
            environment,
        )
        store = folder / "home" / "mlflow.db"
        waited = median(seconds_to_answer(store, folder) for _ in range(SERVER_STARTS))
        for title, function, known in (
            ("new EXPLR_HOME", "two_seconds", None),
            ("every core busy", "on_every_core", store),
        ):
            served, unserved = alternate(
                partial(training, function, known, autostart="1"),
                partial(training, function, known, autostart="0"),
                PAIRS,
            )
            added = [own - other for own, other in zip(served, unserved, strict=True)]
            low, high = median_interval(added)
            print(
                f"P9 server start, {title}: with autostart {pretty(median(served))}, "
                f"without {pretty(median(unserved))}, adds {pretty(median(added))} "
                f"(95 % interval {pretty(low)} to {pretty(high)}), "
                f"where it is waited for {pretty(waited)}, target 0: {verdict(low <= 0)}",
                flush=True,
            )


def training(function: str, store: Path | None, autostart: str) -> float:
    """Seconds from the start of a run to the return of its training function."""
    # A drain of no length: the companion goes on in the background, and is ended with the place.
    with place(EXPLR_AUTOSTART=autostart) as (folder, environment):
        if store is not None:
            (folder / "home").mkdir()
            shutil.copyfile(store, folder / "home" / "mlflow.db")
        return started_after(
            (EXPLR, f"train_model={TRAININGS}:{function}", "tracking.drain_timeout_s=0"),
            folder,
            environment,
            "ended",
        )


def seconds_to_answer(store: Path, folder: Path) -> float:
    """Seconds until MLflow's server, started by its own command, answers a request."""
    with listen(0) as listener:
        port = listener.getsockname()[1]
    begin = time.monotonic()
    process = subprocess.Popen(
        (
            *(sys.executable, "-m", "mlflow", "server", "--port", str(port)),
            *("--backend-store-uri", f"sqlite:///{store}"),
        ),
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not answers(f"http://127.0.0.1:{port}", timeout_s=1):
        if process.poll() is not None:
            sys.exit("mlflow server ended by itself")
        time.sleep(0.1)
    seconds = time.monotonic() - begin
    for child in psutil.Process(process.pid).children(recursive=True):
        child.kill()
    process.kill()
    process.wait()
    return seconds


if __name__ == "__main__":
    main()
