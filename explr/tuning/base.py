"""What a tuner is, and what stands between it and whatever runs its trials."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from explr.core.protocols import TrainFunction
from explr.tuning.packing import Peak

State = Literal["COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING"]
"""States of a trial, as Optuna calls them."""


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


class Executor(Protocol):
    """Runs jobs, several at a time."""

    @property
    def slots(self) -> int:
        """How many jobs may run at the same time; another number from time to time."""
        ...

    def start(self, job: Job) -> None:
        """Start a job; never called with all slots taken."""
        ...

    def wait(self, timeout_s: float | None) -> list[tuple[Job, Outcome]]:
        """Wait for the first job to end, `timeout_s` at most; those that ended."""
        ...

    def stop(self, job: Job, grace_s: float) -> None:
        """Have a running job end within `grace_s` seconds, if that can be done."""
        ...

    def close(self) -> None:
        """End whatever still runs."""
        ...


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


class BaseTuner(ABC):
    """Chooses hyperparameters for a training."""

    @abstractmethod
    def optimize(self, train_model: TrainFunction, search_space: Mapping[str, Any]) -> SweepResult:
        """Search for the hyperparameters with which `train_model` does best.

        Args:
            train_model: the training function.
            search_space: ranges by hyperparameter, in Hydra's sweep grammar, as
                `SearchSpaceBuilder.build` gives them; a value that is no range is fixed.

        Raises:
            ConfigError: a range cannot be read.
        """
