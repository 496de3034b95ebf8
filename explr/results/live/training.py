"""Keeps the state of a single running training for the live view, and draws it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from explr.results.text import duration, number

if TYPE_CHECKING:
    from rich.console import RenderableType


FIRST = 20
"""Number of first reports that each get a line if the number of epochs is unknown."""

EVERY_S = 1.0
"""Seconds between two lines after the first reports."""


@dataclass
class TrainingProgress:
    """Follows the objective over the steps of a training.

    Args:
        metric: name of the objective.
        minimize: whether smaller values are better.
        epochs: total number of steps; None if unknown.
        clock: a monotonic clock in seconds.
    """

    metric: str
    minimize: bool
    epochs: int | None = None
    clock: Callable[[], float] = time.monotonic
    step: int | None = field(default=None, init=False)
    value: float = field(default=0.0, init=False)
    best: tuple[float, int] | None = field(default=None, init=False)
    _first: tuple[int, float] | None = field(default=None, init=False)
    _count: int = field(default=0, init=False)
    _next: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._begin = self.clock()

    def reported(self, step: int, value: float) -> bool:
        """Record the objective at a step.

        Returns:
            Whether the report gets a line; with very many steps only some do.
        """
        now = self.clock()
        if self.epochs is not None and step >= self.epochs:
            self.epochs = None  # the steps are not epochs
        if self._first is None:
            self._first = step, now
        self.step, self.value = step, value
        best = self.best
        if not math.isnan(value) and (
            best is None or (value < best[0] if self.minimize else value > best[0])
        ):
            self.best = value, step
        self._count += 1
        if self.epochs is None and self._count > FIRST and now < self._next:
            return False
        self._next = now + EVERY_S
        return True

    def line(self) -> str:
        """The last report as a line."""
        return f"{self._place()}  {self.metric} {number(self.value)}"

    def left_s(self) -> float | None:
        """Estimated seconds for the remaining epochs; None if unknown."""
        if self.epochs is None or self.step is None or self._first is None:
            return None
        first, since = self._first
        if self.step > first:  # the first epoch includes imports and other set-up
            each_s = (self.clock() - since) / (self.step - first)
        else:
            each_s = since - self._begin
        return max(0.0, (self.epochs - self.step - 1) * each_s)

    def _place(self) -> str:
        if self.step is None:
            return "begins"
        return (
            f"step {self.step}" if self.epochs is None else f"epoch {self.step + 1}/{self.epochs}"
        )

    def _completed(self) -> int:
        return 0 if self.step is None else self.step + 1

    def __rich__(self) -> RenderableType:
        """The current drawing."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        line = Table.grid(padding=(0, 2))
        line.add_column(no_wrap=True)
        cells: list[RenderableType] = [Text(self._place())]
        if self.epochs is not None:
            line.add_column(width=24)
            cells.append(ProgressBar(total=self.epochs, completed=self._completed()))
        told = Text(no_wrap=True, overflow="ellipsis")
        if self.step is not None:
            told.append(f"{self.metric} {number(self.value)}  ")
        if self.best is not None:
            value, step = self.best
            of = f"epoch {step + 1}" if self.epochs is not None else f"step {step}"
            told.append(f"best {number(value)} ({of})  ", "green")
        left = self.left_s()
        told.append(duration(self.clock() - self._begin), "dim")
        told.append("" if left is None else f", about {duration(left)} left", "dim")
        line.add_column(no_wrap=True, overflow="ellipsis")
        line.add_row(*cells, told)
        return line
