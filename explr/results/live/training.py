"""Keeps the state of a single running training for the live view, and draws it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from explr.results.live.curve import Curve
from explr.results.text import duration, number, sparkline

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType


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
    _curve: Curve[float] = field(default_factory=Curve, init=False)
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
        self._curve.add(value)
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

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        """Draw the training as it is now, on one line."""
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        from explr.results.table import Column, FittedTable, Row

        cells: dict[Column, Any] = {Column("place"): self._place()}
        if self.epochs is not None:
            bar = ProgressBar(total=self.epochs, completed=self._completed(), width=24)
            cells[Column("bar", drop=5)] = bar
        if self.step is not None:
            is_long = len(self.metric) > options.max_width // 4
            name = "value" if is_long else self.metric
            cells[Column("value")] = f"{name} {number(self.value)}"
            if not options.ascii_only:
                cells[Column("curve", drop=3)] = sparkline(self._curve.values)
        if self.best is not None:
            value, step = self.best
            of = f"epoch {step + 1}" if self.epochs is not None else f"step {step}"
            cells[Column("best", drop=1)] = Text(f"best {number(value)} ({of})", "green")
        left = self.left_s()
        timing = duration(self.clock() - self._begin)
        cells[Column("time", drop=2)] = Text(timing, "dim")
        if left is not None:
            cells[Column("left", drop=4)] = Text(f"about {duration(left)} left", "dim")
        yield FittedTable([*cells], [Row([*cells.values()])], has_head=False)
