"""A clock that jumps from the end of one epoch to the next, for one worker or several.

What a search costs are the epochs of its trainings, by the tables' own times; what it computes
itself takes no time here.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Curve:
    """One training.

    Args:
        errors: what is to be minimized, after each epoch.
        seconds: duration of each epoch.
    """

    errors: list[float]
    seconds: list[float]


class Task(Protocol):
    """What is searched: a table, or a surrogate, of trainings."""

    ranges: Mapping[str, str]
    """The range of each hyperparameter in Hydra's grammar."""

    epochs: int
    """Epochs of a whole training."""

    training_s: float
    """Duration of the median random training."""

    trainings: int
    """Whole trainings whose epochs a search may spend."""

    def train(self, params: Mapping[str, Any]) -> Curve:
        """Train to the end with these hyperparameters."""
        ...

    def regret(self, params: Mapping[str, Any], error: float) -> float:
        """Normalised: 0 is the best that can be expected, 1 is the median.

        Args:
            params: the hyperparameters.
            error: what one of their trainings has shown.
        """
        ...


class BudgetSpentError(Exception):
    """The search has spent its epochs and its time."""


@dataclass(frozen=True)
class Epoch:
    """The end of an epoch.

    Args:
        key: what the search calls the training.
        number: number of the epoch, from 1.
        error: the validation error.
        last: whether the training is over.
    """

    key: int
    number: int
    error: float
    last: bool


@dataclass
class Progress:
    """What a search has found: each improvement.

    Args:
        steps: epochs spent, time in median trainings, and regret of the best so far.
        epochs: epochs spent in all.
        trainings: trainings begun.
    """

    steps: list[tuple[int, float, float]] = field(default_factory=list)
    epochs: int = 0
    trainings: int = 0


class Workers:
    """Trains on several workers at the same time.

    With one worker a search ends after the epochs of `task.trainings` trainings. With several it
    also goes on until as much time has passed as they need for that many median trainings, so that
    waiting workers count.

    Args:
        task: what is trained.
        count: number of workers.
    """

    def __init__(self, task: Task, count: int) -> None:
        self.count = count
        self.now = 0.0
        """Seconds since the start."""
        self.progress = Progress()
        self._task = task
        self._ends: list[tuple[float, int]] = []
        self._params: dict[int, Mapping[str, Any]] = {}
        self._curves: dict[int, Curve] = {}
        self._done: dict[int, int] = {}
        self._best = math.inf
        self._until_s = task.trainings * task.training_s / count if count > 1 else 0.0

    @property
    def busy(self) -> int:
        """Workers that train."""
        return len(self._ends)

    def start(self, key: int, params: Mapping[str, Any]) -> None:
        """Begin a training on a free worker."""
        self._params[key], self._curves[key] = dict(params), self._task.train(params)
        self._done[key] = 0
        self.progress.trainings += 1
        self.go_on(key)

    def go_on(self, key: int) -> None:
        """Train another epoch."""
        end = self.now + self._curves[key].seconds[self._done[key]]
        heapq.heappush(self._ends, (end, key))

    def next_end(self) -> Epoch:
        """Wait for the next end of an epoch; `go_on` must follow, unless the training ends.

        Raises:
            BudgetSpentError: nothing is left to spend.
        """
        found, task = self.progress, self._task
        if found.epochs >= task.trainings * task.epochs and self.now >= self._until_s:
            raise BudgetSpentError
        self.now, key = heapq.heappop(self._ends)
        found.epochs += 1
        self._done[key] = number = self._done[key] + 1
        error = self._curves[key].errors[number - 1]
        if error < self._best:
            self._best = error
            regret = task.regret(self._params[key], error)
            found.steps.append((found.epochs, self.now / task.training_s, regret))
        return Epoch(key, number, error, number == task.epochs)


class Search(Protocol):
    """A peer: a sampler with a scheduler."""

    def ask(self) -> tuple[int, dict[str, Any]] | None:
        """The next training and its hyperparameters; None waits for the end of another."""
        ...

    def report(self, epoch: Epoch) -> bool:
        """Take the end of an epoch, the last one too; returns whether to train on."""
        ...


def run(search: Search, task: Task, workers: int) -> Progress:
    """Search until the budget is spent."""
    pool = Workers(task, workers)
    try:
        while True:
            while pool.busy < workers and (asked := search.ask()) is not None:
                pool.start(*asked)
            while True:
                epoch = pool.next_end()
                if not search.report(epoch) or epoch.last:
                    break
                pool.go_on(epoch.key)
    except BudgetSpentError:
        return pool.progress
