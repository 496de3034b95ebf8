"""Shared by the sweep benchmarks: run a sweep, and read its duration from its folders.

A trial's time is the span between the first and the last trial's `config.yaml`, divided by the
trials between them, so that the start and the end of the command do not count.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from _timing import HERE, checked

BARE_SWEEP = (sys.executable, str(HERE / "bare_sweep.py"))
LR = "lr=interval(1e-5, 1e-1)"
SAVED = ("config.yaml", "hydra.yaml", "overrides.yaml")


@dataclass(frozen=True)
class Swept:
    """A sweep that was run.

    Args:
        folder: its folder.
        end: when its command ended, in seconds since the epoch.
        starts: when each trial's `config.yaml` was written, in their order.
    """

    folder: Path
    end: float
    starts: list[float]

    @property
    def trial_s(self) -> float:
        """Seconds per trial."""
        return (self.starts[-1] - self.starts[0]) / (len(self.starts) - 1)


def run_sweep(
    command: Sequence[str], place: Path, environment: dict[str, str], trials: int
) -> Swept:
    """Run a sweep in a new folder.

    Args:
        command: the command, without the folder.
        place: where the new folder goes.
        environment: the environment to run in.
        trials: how many trials it must have run, each with the files that Hydra saves.
    """
    folder = place / f"sweep-{time.monotonic_ns()}"
    checked((*command, "-m", f"hydra.sweep.dir={folder}"), place, environment)
    end = time.time()
    starts = []
    for number in range(trials):
        saved = [folder / str(number) / ".hydra" / name for name in SAVED]
        starts.append(saved[0].stat().st_mtime)
        assert all(file.stat().st_size for file in saved)
    return Swept(folder, end, starts)
