"""A trial: its jobs, how they ended, their peak memory, and the result of all trials."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from explr.tuning.feasibility.failure import Failure


@dataclass(frozen=True)
class Peak:
    """Peak memory of a trial.

    Args:
        host_gb: GiB of the host.
        gpu_gb: GiB of its GPU, its CUDA context included; None if it cannot be measured.
    """

    host_gb: float = 0.0
    gpu_gb: float | None = None

    def __or__(self, other: Peak) -> Peak:
        known = [gb for gb in (self.gpu_gb, other.gpu_gb) if gb is not None]
        return Peak(max(self.host_gb, other.host_gb), max(known, default=None))

    def __str__(self) -> str:
        host = f"{readable_gb(self.host_gb)} GiB of host memory"
        return f"{host} and {readable_gb(self.gpu_gb)} GiB of its GPU" if self.gpu_gb else host


def readable_gb(gb: float) -> str:
    """An amount with a sensible number of digits."""
    return f"{gb:.1f}" if gb >= 1 else f"{gb:.2g}"


State = Literal["COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING"]
"""States of a trial, as Optuna calls them."""

ENDED: tuple[State, ...] = ("COMPLETE", "PRUNED", "FAIL")
"""States of a trial that has ended."""


@dataclass(frozen=True)
class Job:
    """One training to run for a trial.

    Args:
        trial: number of the trial.
        replicate: number of the training among the trial's replicates, from 0.
        replicates: trainings of the trial.
        attempt: how often it was started before.
        params: the sampled values by parameter.
        alone: whether no other job may run at the same time.
        seed: number to add to the seed of the sweep, beside that of the replicate.
    """

    trial: int
    replicate: int
    replicates: int
    attempt: int
    params: dict[str, Any] = field(hash=False)
    alone: bool = False
    seed: int = 0

    @property
    def key(self) -> int:
        """Identifies the job within its sweep."""
        return self.trial * self.replicates + self.replicate

    @property
    def name(self) -> str:
        """Name of the job in messages: the number of its trial, and of its replicate."""
        return f"{self.trial}.{self.replicate}" if self.replicates > 1 else str(self.trial)


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Args:
        state: COMPLETE, PRUNED, FAIL, or RUNNING for one that was stopped and may be resumed.
        values: value of each objective, if it completed; none of a job that returned None, until
            its account has found one among its reports.
        reason: why it did not complete.
        failure: what kind of failure it is; None if it did not fail.
        died: its process ended without an answer, so a retry may help.
        measured: the value of each metric that has a constraint, in the order of the constraints.
        detail: the traceback of what it raised, as text.
        out_of_memory: it ran out of memory, or was killed by SIGKILL, possibly by the OOM killer.
        try_alone: it failed while other jobs ran, and may succeed alone.
        peak: peak memory that its process measured itself; None if it did not measure.
    """

    state: State
    values: tuple[float, ...] = ()
    reason: str = ""
    failure: Failure | None = None
    died: bool = False
    detail: str = ""
    measured: tuple[float, ...] = ()
    out_of_memory: bool = False
    try_alone: bool = False
    peak: Peak | None = field(default=None, compare=False)


@dataclass(frozen=True)
class SweepResult:
    """The result of a sweep.

    Args:
        folder: folder of the sweep; None if it wrote nothing.
        trials: `number`, `state`, `params`, `value`, `steps`, `duration_s`, `dir`, `run_id`,
            `attempts`, `reason` and `failure` of each trial.
        best: the best of those that completed; None if none did, or with several objectives.
        front: with several objectives, the trials of the Pareto front.
    """

    folder: Path | None
    trials: list[dict[str, Any]]
    best: dict[str, Any] | None
    front: list[dict[str, Any]] = field(default_factory=list)
