"""P20: how late a metric is in MLflow while trainings take every core, and what they lose to it.

A training logs the time of day each second. It and its workers, two for each core, count rounds of
work for three minutes, each in a session of its own, as the trials of a sweep are. The same
training without tracking runs in turn with it.
"""

from __future__ import annotations

import sqlite3
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from statistics import median

import psutil
from _timing import EXPLR, TRAININGS, alternate, checked, place, pretty, processes_of, verdict

SECONDS = 180
PAIRS = 2
AT_MEDIAN_S, AT_WORST_S, LOSS = 10.0, 30.0, 0.015


def main() -> None:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else PAIRS
    late_s: list[float] = []
    shares: list[float] = []
    tracked, untracked = alternate(
        lambda: rounds(late_s, shares), lambda: rounds(None, []), pairs, warm=False
    )
    lost = median(1 - own / other for own, other in zip(tracked, untracked, strict=True))
    print(
        f"P20 metrics of a training beside busy cores: in MLflow after {pretty(median(late_s))} at "
        f"the median, target ≤ {AT_MEDIAN_S:g} s: {verdict(median(late_s) <= AT_MEDIAN_S)}, after "
        f"{pretty(max(late_s))} at worst, target ≤ {AT_WORST_S:g} s: "
        f"{verdict(max(late_s) <= AT_WORST_S)}; the upload takes {median(shares):.1%} of all "
        f"cores, target ≤ {LOSS:.1%}: {verdict(median(shares) <= LOSS)}; trainings lose {lost:.1%}",
        flush=True,
    )


def rounds(late_s: list[float] | None, shares: list[float]) -> float:
    """Rounds of work in one training.

    Args:
        late_s: receives for each metric how late it was in MLflow; None for no tracking.
        shares: receives the part of all cores that was taken by what the training left running.
    """
    known = len(late_s or [])
    with place(EXPLR_AUTOSTART="1", BENCH_S=str(SECONDS)) as (folder, environment):
        over = threading.Event()
        watch = threading.Thread(target=_watch, args=[folder / "home" / "mlflow.db", late_s, over])
        watch.start()
        settings = ("tracking=off",) if late_s is None else ("tracking.drain_timeout_s=0",)
        command = (EXPLR, f"train_model={TRAININGS}:a_metric_each_second", *settings)
        try:
            output = checked(command, folder, environment)
            shares.append(_processor_s(folder / "home") / SECONDS / (psutil.cpu_count() or 1))
        finally:
            over.set()
            watch.join()
    lines = [line.split() for line in output.splitlines()]
    if late_s is not None:  # what has not arrived is at least so late
        logged_at = [float(words[1]) for words in lines if words and words[0] == "logged"]
        late_s += [logged_at[-1] - moment for moment in logged_at[len(late_s) - known :]]
    (count,) = [words[1] for words in lines if words and words[0] == "rounds"]
    return float(count)


def _processor_s(home: Path) -> float:
    """Processor time of the companion and the server, in seconds."""
    times = [process.cpu_times() for process in processes_of(home)]
    return sum(time.user + time.system for time in times)


def _watch(store: Path, late_s: list[float] | None, over: threading.Event) -> None:
    """Measure how late each metric arrives; in both kinds of run, since it costs something."""
    seen = 0
    while not over.wait(0.5):
        now = time.time()
        for logged_at in _logged(store)[seen:]:
            seen += 1
            if late_s is not None:
                late_s.append(now - logged_at)


def _logged(store: Path) -> list[float]:
    """What the training has logged, in order."""
    if not store.exists():
        return []
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as database:
        try:
            rows = database.execute("select value from metrics where key = 'clock' order by step")
            return [value for (value,) in rows]
        except sqlite3.OperationalError:  # its tables are being made
            return []


if __name__ == "__main__":
    main()
