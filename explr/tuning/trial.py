"""A trial, its jobs, how they ended, and what came out of all of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Peak:
    """The most memory that a trial took at any moment.

    Args:
        host_gb: GiB of the host.
        gpu_gb: GiB of its GPU, its CUDA context included; None if nobody can tell.
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
    """An amount with as many digits as say something."""
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
        alone: whether it is to run with no other job beside it.
    """

    trial: int
    replicate: int
    replicates: int
    attempt: int
    params: dict[str, Any] = field(hash=False)
    alone: bool = False

    @property
    def key(self) -> int:
        """Names the job among all of its sweep."""
        return self.trial * self.replicates + self.replicate

    @property
    def name(self) -> str:
        """What a person reads of the job: the number of its trial, and of its replicate."""
        return f"{self.trial}.{self.replicate}" if self.replicates > 1 else str(self.trial)


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Args:
        state: COMPLETE, PRUNED, FAIL, or RUNNING for one that was stopped and may go on later.
        values: value of each objective, if it completed.
        reason: why it did not.
        died: its process ended without an answer, so that another attempt may help.
        detail: the traceback of what it raised, as text.
        out_of_memory: it failed for want of memory, or was killed by somebody, who may have been
            the kernel for that.
        try_alone: it failed beside others, and may not with nothing beside it.
        peak: the most memory that its process took by its own account; None if it was not asked.
    """

    state: State
    values: tuple[float, ...] = ()
    reason: str = ""
    died: bool = False
    detail: str = ""
    out_of_memory: bool = False
    try_alone: bool = False
    peak: Peak | None = field(default=None, compare=False)


@dataclass(frozen=True)
class SweepResult:
    """What came out of a sweep.

    Args:
        folder: folder of the sweep; None if it wrote nothing.
        trials: `number`, `state`, `params`, `value`, `steps`, `duration_s`, `dir`, `run_id`,
            `attempts` and `reason` of each trial.
        best: the best of those that completed; None if none did, or with several objectives.
        front: with several objectives, the trials that no other beats in all of them.
    """

    folder: Path | None
    trials: list[dict[str, Any]]
    best: dict[str, Any] | None
    front: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class UnderWay:
    """A trial whose jobs run or wait for a slot.

    Args:
        number: number of the trial.
        params: the sampled values by parameter.
        replicates: trainings of the trial; it is their mean.
    """

    number: int
    params: dict[str, Any]
    replicates: int
    told: bool = False
    deaths: int = 0
    _values: dict[int, tuple[float, ...]] = field(default_factory=dict)
    _reports: dict[int, dict[int, float]] = field(default_factory=dict)
    _prune: bool = False

    def job(self, replicate: int, attempt: int, alone: bool = False) -> Job:
        """The training of a replicate."""
        return Job(self.number, replicate, self.replicates, attempt, self.params, alone)

    def report(
        self, replicate: int, step: int, value: float, tell: Callable[[int, int, float], bool]
    ) -> bool:
        """Take in an intermediate value of a replicate; whether it should end.

        Args:
            replicate: number of the replicate.
            step: step of the training.
            value: the objective at that step.
            tell: takes the trial's number, a step and the mean at it once all replicates have
                reported it; whether the trial should end.
        """
        if self.replicates == 1:
            return tell(self.number, step, value)
        there = self._reports.setdefault(step, {})
        there[replicate] = value
        if len(there) == self.replicates:
            self._prune = tell(self.number, step, statistics.fmean(there.values()))
        return self._prune

    def complete(self, replicate: int, values: tuple[float, ...]) -> tuple[float, ...] | None:
        """Take in the values of a replicate that came to its end; those of the trial with the last.

        Args:
            replicate: number of the replicate.
            values: its value for each objective.
        """
        self._values[replicate] = values
        if len(self._values) < self.replicates:
            return None
        return tuple(statistics.fmean(v) for v in zip(*self._values.values(), strict=True))
