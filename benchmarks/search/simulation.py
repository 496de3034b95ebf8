"""A clock that jumps from the end of one epoch to the next, for one worker or several.

What a search costs are the epochs of its trainings, by the tables' own times; what it computes
itself takes no time here.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from lcbench import EPOCHS, Curve, Task

TRAININGS = 20
"""Whole trainings whose epochs a search may spend."""


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
        steps: epochs spent, time in median trainings, and normalised regret.
        epochs: epochs spent in all.
        trainings: trainings begun.
    """

    steps: list[tuple[int, float, float]] = field(default_factory=list)
    epochs: int = 0
    trainings: int = 0


class Workers:
    """Trains on several workers at the same time.

    With one worker a search ends after the epochs of `TRAININGS` trainings. With several it also
    goes on until as much time has passed as they need for that many median trainings, so that
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
        self._curves: dict[int, Curve] = {}
        self._done: dict[int, int] = {}
        self._until_s = TRAININGS * task.training_s / count if count > 1 else 0.0

    @property
    def busy(self) -> int:
        """Workers that train."""
        return len(self._ends)

    def start(self, key: int, params: Mapping[str, Any]) -> None:
        """Begin a training on a free worker."""
        self._curves[key] = self._task.train(params)
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
        found = self.progress
        if found.epochs >= TRAININGS * EPOCHS and self.now >= self._until_s:
            raise BudgetSpentError
        self.now, key = heapq.heappop(self._ends)
        found.epochs += 1
        self._done[key] = number = self._done[key] + 1
        error = self._curves[key].errors[number - 1]
        regret = self._task.regret(error)
        if not found.steps or regret < found.steps[-1][2]:
            found.steps.append((found.epochs, self.now / self._task.training_s, regret))
        return Epoch(key, number, error, number == EPOCHS)


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
