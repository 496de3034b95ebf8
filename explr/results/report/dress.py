"""Axes, colours and tooltips of the charts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from explr.results.report.colours import BEST, COLOURS
from explr.results.report.drawn import Drawn
from explr.results.text import spans_decades

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

FEW = 10
"""Whole numbers up to which each has its tick."""


def say(figure: Figure) -> Figure:
    """Give each point of a trial its tooltip later, by the number of the trial; drop the title.

    A page fills in the texts, so that it holds that of a trial once.
    """
    figure.update_layout(
        title=None,
        template=None,
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        hovermode="closest",
        hoverlabel={"align": "left"},
    )
    for trace in figure.data:
        if trace.customdata is not None:
            trace.update(hovertemplate="%{text}<extra></extra>", hoverinfo="text")
    return figure


def with_texts(figure: Figure, drawn: Drawn) -> Figure:
    """Fill in the tooltips, for a figure that is shown by itself."""
    texts = {number: drawn.about(trial) for number, trial in drawn.trials.items()}
    for trace in figure.data:
        if trace.customdata is not None:
            trace.text = [texts.get(number, "") for number in trace.customdata]
    return figure


def step_axis(axis: Any, title: str, values: Sequence[float]) -> None:
    """An axis of whole numbers."""
    low, high = min(values, default=0), max(values, default=0)
    axis.update(title=title, tickformat="d")
    if high - low <= FEW:
        axis.update(dtick=1, tick0=0)


def value_axis(axis: Any, title: str, values: Sequence[float]) -> None:
    """An axis of values, logarithmic if they span decades."""
    axis.update(title=title)
    if spans_decades(values):
        _log(axis, min(values), max(values))
    elif values and min(values) == max(values):  # plotly would show a range of its own
        room = max(abs(values[0]) / 100, 1e-6)
        axis.update(range=[values[0] - room, values[0] + room])


def _log(axis: Any, low: float, high: float) -> None:
    """A logarithmic axis with powers of ten, or with 1, 2 and 5 of each, so that none touch."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    apart = math.ceil((last - first + 1) / FEW)
    digits = (1, 2, 5) if last - first <= 2 else (1,)
    ticks = [digit * 10.0**e for e in range(first, last + 1, apart) for digit in digits]
    room = 10 ** (0.04 * max(math.log10(high / low), 0.05))
    axis.update(
        type="log", range=[math.log10(low / room), math.log10(high * room)], tickvals=ticks,
        ticktext=[f"{tick:g}" for tick in ticks],
    )  # fmt: skip


def param_axis(axis: Any, drawn: Drawn, name: str) -> None:
    """The axis of a parameter: all its choices, powers of ten, or whole numbers."""
    axis.update(title=name)
    choices = drawn.choices(name)
    if choices is not None:
        axis.update(
            type="category", categoryorder="array", categoryarray=choices,
            range=[-0.5, len(choices) - 0.5], dtick=1 if len(choices) <= 20 else None,
            labelalias={one: f"{one[:23]}…" for one in choices if len(one) > 24},
        )  # fmt: skip
        return
    held = [
        trial.params[name]
        for trial in drawn.valued.get_trials(deepcopy=False)
        if name in trial.params
    ]
    if drawn.is_log(name):
        _log(axis, min(held), max(held))
    elif drawn.is_int(name):
        step_axis(axis, name, held)


def marks(figure: Figure, drawn: Drawn, name: str) -> None:
    """Split the points of a slice by what became of their trials.

    Args:
        figure: that of `optuna.visualization.plot_slice`.
        drawn: what it was drawn from.
        name: its parameter.
    """
    points = figure.data[0]
    numbers = [int(number) for number in points.marker.color]
    ys = list(points.y)
    labels = {repr(choice): choice for choice in drawn.choices(name) or ()}  # as Optuna has them
    xs = [labels.get(x, x) for x in points.x]
    figure.data = ()
    for state, name, marker in (
        ("PRUNED", "pruned", {"color": COLOURS["PRUNED"], "symbol": "x", "size": 6}),
        ("INFEASIBLE", "infeasible", {"color": COLOURS["INFEASIBLE"], "size": 6}),
        ("COMPLETE", "complete", {"color": COLOURS["COMPLETE"], "size": 6}),
        ("best", "best", {"color": BEST, "symbol": "star", "size": 12}),
    ):
        chosen = [
            i
            for i, number in enumerate(numbers)
            if ("best" if number in drawn.sweep.best else drawn.trials[number].shown_state) == state
        ]
        if chosen:
            figure.add_scatter(
                name=name, x=[xs[i] for i in chosen], y=[ys[i] for i in chosen], mode="markers",
                customdata=[numbers[i] for i in chosen], marker=marker,
            )  # fmt: skip
