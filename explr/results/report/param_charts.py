"""Charts of hyperparameters: their importance, and the results of their values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from explr.core.secrets.names import is_secret
from explr.results.report.importance import importances
from explr.results.report.svg import Axis, Plot, label, ramp, svg
from explr.results.report.trial_charts import COLOURS, about, drawable, thinned
from explr.results.sweep import SweepView
from explr.results.trial import TrialView

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


CELLS = 48
"""Cells along each axis of a contour."""

LEVELS = 10
"""Number of colours of a contour."""


class Searched:
    """The completed trials of a sweep and their parameters.

    `trials` and `values` are those that charts draw; importances and axes come from all trials.

    Args:
        sweep: the sweep.
        objective: index of the objective.
    """

    def __init__(self, sweep: SweepView, objective: int) -> None:
        self.sweep = sweep
        self.metric = sweep.metrics[objective]
        self.minimize = sweep.minimize[objective]
        self._every = drawable(sweep.complete, objective)
        self._ranked = [t for t in sweep.complete if math.isfinite(t.values[objective])]
        self._losses = [
            trial.values[objective] if self.minimize else -trial.values[objective]
            for trial in self._ranked
        ]
        self.trials = thinned(sweep, self._every)
        self.values = [trial.values[objective] for trial in self.trials]
        self._ranges: dict[str, BaseDistribution] = {}
        for trial in self._every:
            ranges = trial.frozen.distributions
            self._ranges.update({k: v for k, v in ranges.items() if not is_secret(k)})

    @property
    def names(self) -> list[str]:
        """Parameters, the most important first."""
        known = self.importances
        return [*known, *(name for name in self._ranges if name not in known)]

    @cached_property
    def importances(self) -> dict[str, float]:
        """The importance of each parameter, the largest first."""
        params = [trial.frozen.params for trial in self._ranked]
        return importances(params, self._losses, self._ranges)

    def axis(self, name: str) -> Axis:
        """The axis of a parameter."""
        held = [t.frozen.params[name] for t in self._every if name in t.frozen.params]
        if not hasattr(self._ranges[name], "low"):
            return Axis(name, choices=tuple(dict.fromkeys(map(str, held))))
        return Axis.of(name, held, bool(getattr(self._ranges[name], "log", False)))

    def value(self, trial: TrialView, name: str) -> Any:
        """A trial's value on the axis of a parameter; None if it has none."""
        held = trial.frozen.params.get(name)
        numeric = hasattr(self._ranges[name], "low")
        return held if numeric or name not in trial.frozen.params else str(held)

    @property
    def is_flat(self) -> bool:
        """Whether several trials have one and the same value, from which nothing follows."""
        return len(self._losses) > 1 == len(set(self._losses))

    @cached_property
    def ranks(self) -> list[float]:
        """For each trial its rank, from 0 for the worst to 1; equal values have the same."""
        best_first = sorted(set(self.values), reverse=not self.minimize)
        last = max(len(best_first) - 1, 1)
        rank = {value: 1 - place / last for place, value in enumerate(best_first)}
        return [rank[value] for value in self.values]

    def colours(self) -> list[str]:
        """For each trial a colour; better trials have lighter colours."""
        return [ramp(rank) for rank in self.ranks]


def importance_chart(searched: Searched) -> Iterator[str]:
    """The importance of each parameter."""
    found = searched.importances
    if not found:
        return
    names = tuple(reversed(found))
    plot = Plot(Axis("share", 0, 1), Axis("", choices=names), height=60 + 26 * len(names), left=190)
    for name, share in found.items():
        plot.bar((0, share), name, COLOURS["COMPLETE"], f"{name}: {share:.1%}")
    yield plot.render()


def parallel(searched: Searched) -> Iterator[str]:
    """Each trial as a line through its parameters; better trials are lighter and on top."""
    names = searched.names
    if not names or not searched.trials:
        return
    axes = [Axis.of(searched.metric, searched.values), *map(searched.axis, names)]
    width, top, tall = max(860, 130 * len(axes)), 34, 260
    gap = (width - 140) / (len(axes) - 1)
    lines: list[tuple[float, str]] = []
    for trial, value, colour in zip(
        searched.trials, searched.values, searched.colours(), strict=True
    ):
        held = [value, *(searched.value(trial, name) for name in names)]
        places = [
            None if one is None else f"{70 + gap * i:.1f} {top + tall * (1 - axis.at(one)):.1f}"
            for i, (axis, one) in enumerate(zip(axes, held, strict=True))
        ]
        path = "".join(f"M{a}L{b}" for a, b in pairwise(places) if a and b)
        mark = f'<path d="{path}" stroke="{colour}" fill="none" class="trial"/>'
        lines.append((-value if searched.minimize else value, mark))
    parts = [mark for _, mark in sorted(lines, key=lambda line: line[0])]
    for i, axis in enumerate(axes):
        x = round(70 + gap * i, 1)
        parts.append(f'<path d="M{x} {top}V{top + tall}" class="axis"/>')
        parts.append(label(x, 16, axis.title))
        for part, text in axis.ticks(5):
            parts.append(label(x - 5, round(top + tall * (1 - part) + 4, 1), text, "end"))
    yield svg(width, top + tall + 16, parts)


def slices(searched: Searched) -> Iterator[str]:
    """The value of each trial over each parameter."""
    for name in searched.names:
        value_axis = Axis.of(searched.metric, searched.values)
        plot = Plot(searched.axis(name), value_axis, width=420, height=260)
        for trial, value in zip(searched.trials, searched.values, strict=True):
            place = searched.value(trial, name)
            if place is not None:
                plot.dot((place, value), COLOURS["COMPLETE"], about(searched.sweep, trial), 3)
        yield plot.render()


def contour(searched: Searched) -> Iterator[str]:
    """The objective over the two most important parameters, interpolated between trials."""
    found = list(searched.importances)[:2]
    if len(found) < 2 or len(searched.trials) < 3:
        return
    axes = [searched.axis(name) for name in found]
    plot = Plot(axes[0], axes[1], width=640, height=440)
    held = [tuple(searched.value(trial, name) for name in found) for trial in searched.trials]
    colours = searched.colours()
    points = [tuple(axis.at(one) for axis, one in zip(axes, p, strict=True)) for p in held]
    plot.under(_landscape(plot, points, searched))
    for trial, point, colour in zip(searched.trials, held, colours, strict=True):
        plot.dot(point, colour, about(searched.sweep, trial), 4)
    yield plot.render()


def _landscape(plot: Plot, points: Sequence[tuple[float, ...]], searched: Searched) -> str:
    """Cells coloured by the ranks of nearby trials, weighted by distance."""
    import numpy as np

    good = np.array(searched.ranks)
    centres = (np.arange(CELLS) + 0.5) / CELLS
    x, y = np.meshgrid(centres, centres)
    at = np.array(points)
    squared = (x[..., None] - at[:, 0]) ** 2 + (y[..., None] - at[:, 1]) ** 2
    weights = 1 / (squared + 1e-4) ** 1.5
    level = np.round((weights * good).sum(-1) / weights.sum(-1) * LEVELS) / LEVELS
    across = (plot.width - plot.left - plot.right) / CELLS
    down = (plot.height - plot.top - plot.bottom) / CELLS
    cells = []
    for row in range(CELLS):
        start = 0
        for end in range(1, CELLS + 1):  # neighbours of one colour are one rectangle
            if end == CELLS or level[row, end] != level[row, start]:
                left, top = plot.left + across * start, plot.top + down * (CELLS - 1 - row)
                cells.append(
                    f'<rect x="{left:.1f}" y="{top:.1f}" width="{across * (end - start) + 0.4:.1f}"'
                    f' height="{down + 0.4:.1f}" fill="{ramp(float(level[row, start]))}"/>'
                )
                start = end
    return f'<g opacity="0.75">{"".join(cells)}</g>'
