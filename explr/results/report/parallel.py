"""Puts Optuna's parallel coordinates on axes of ours, and draws pruned trials as such."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from explr.results.report.colours import BEST, COLOURS, LINES
from explr.results.report.drawn import Drawn
from explr.results.text import spans_decades

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

SHADES = 12
"""Colours from the worst to the best; the lines of one colour are one trace."""

APART = {"PRUNED": -2, "INFEASIBLE": -1}
"""Colours of the states that have one of their own."""

NAMES = {**{key: state.lower() for state, key in APART.items()}, SHADES: "best"}
"""What the legend names; the colour bar explains the others."""

MISSING = -0.12
"""Where lines pass the axis of a parameter that their trial does not have."""


def redrawn(figure: Figure, drawn: Drawn) -> Figure:
    """The figure with all choices, whole numbers and powers of ten on its axes.

    Args:
        figure: that of `optuna.visualization.plot_parallel_coordinate`.
        drawn: what it was drawn from.
    """
    from plotly.colors import sample_colorscale

    trials = drawn.valued.get_trials(deepcopy=False)
    values = [float(trial.values[drawn.objective]) for trial in trials]
    axes = [_numbers(values, spans_decades(values), False)]
    axes += [_param(drawn, name) for name in drawn.names]
    titles = [drawn.metric, *drawn.names]
    states = [drawn.trials[trial.number].shown_state for trial in trials]
    done = sorted({v for v, state in zip(values, states, strict=True) if state == "COMPLETE"})
    place = {value: i / max(len(done) - 1, 1) for i, value in enumerate(done)}
    lines: dict[Any, dict[str, list[Any]]] = defaultdict(
        lambda: {"x": [], "y": [], "customdata": []}
    )
    for trial, value, state in zip(trials, values, states, strict=True):
        held = [value, *(trial.params.get(name) for name in drawn.names)]
        ys = [
            MISSING if one is None else axis.at(one) for axis, one in zip(axes, held, strict=True)
        ]
        good = place.get(value, 0.0)
        good = 1 - good if drawn.minimize else good
        key = APART.get(state, round(good * (SHADES - 1)))
        key = SHADES if trial.number in drawn.sweep.best else key
        line = lines[key]
        line["x"] += [*range(len(axes)), None]
        line["y"] += [*ys, None]
        line["customdata"] += [trial.number] * (len(axes) + 1)
    colours = sample_colorscale([*LINES], [i / (SHADES - 1) for i in range(SHADES)])
    named = {key: COLOURS[state] for state, key in APART.items()}
    colours = {**named, SHADES: BEST, **dict(enumerate(colours))}
    scale = figure.data[-1]
    figure.data = ()
    width = 1.2 if len(trials) < 300 else 0.6
    for key in sorted(lines):
        figure.add_scatter(
            **lines[key], mode="lines", name=NAMES.get(key), showlegend=key in NAMES,
            opacity=0.5 if key < 0 else 0.85,
            line={
                "color": colours[key],
                "dash": "dot" if key < 0 else "solid",
                "width": 3 if key == SHADES else width,
            },
        )  # fmt: skip
    if lines.keys() - NAMES.keys():
        scale.marker.update(
            color=[0, 1], cmin=0, cmax=1, colorscale=[*LINES], reversescale=False,
            colorbar={
                "title": {"text": "rank", "side": "right"}, "thickness": 12,
                "tickvals": [0, 1], "ticktext": ["worst", "best"],
            },
        )  # fmt: skip
        figure.add_trace(scale)
    figure.layout.annotations = ()
    figure.update_layout(
        plot_bgcolor=None, height=420, meta={"width": 130 * len(axes)},
        xaxis={"ticktext": [t if len(t) < 20 else f"{t[:17]}…" for t in titles]},
        yaxis={"range": [-0.16, 1.08]},
    )  # fmt: skip
    for i, axis in enumerate(axes):
        for at, text in axis.ticks:
            figure.add_annotation(
                x=i, y=at, text=text, showarrow=False, xanchor="right", xshift=-4, font={"size": 10}
            )
        if i and any(titles[i] not in trial.params for trial in trials):
            figure.add_annotation(
                x=i, y=MISSING, text="none", showarrow=False, xanchor="right", xshift=-4,
                font={"size": 10},
            )  # fmt: skip
    return figure


@dataclass(frozen=True)
class _Axis:
    """Where values lie on one of the axes, from 0 to 1.

    Args:
        at: the place of a value.
        ticks: places and texts.
    """

    at: Callable[[Any], float]
    ticks: Sequence[tuple[float, str]]


def _param(drawn: Drawn, name: str) -> _Axis:
    choices = drawn.choices(name)
    if choices is not None:
        places = {one: (i + 0.5) / len(choices) for i, one in enumerate(choices)}
        shown = [(at, one if len(one) < 14 else f"{one[:12]}…") for one, at in places.items()]
        return _Axis(places.__getitem__, shown)
    trials = drawn.valued.get_trials(deepcopy=False)
    held = [trial.params[name] for trial in trials if name in trial.params]
    return _numbers(held or [0], drawn.is_log(name), drawn.is_int(name))


def _numbers(values: Sequence[float], log: bool, whole: bool) -> _Axis:
    low, high = min(values), max(values)
    if low == high:
        return _Axis(lambda _: 0.5, [(0.5, f"{low:.3g}")])
    move: Callable[[float], float] = math.log10 if log else float
    first, span = move(low), move(high) - move(low)

    def at(value: float) -> float:
        return (move(value) - first) / span

    inner: list[float]
    if log:
        inner = [10.0**e for e in range(math.ceil(move(low)), math.floor(move(high)) + 1)]
    elif whole:
        step = max(1, math.ceil((high - low) / 8))
        inner = [float(value) for value in range(int(low), int(high) + 1, step)]
    else:
        inner = [low + (high - low) * i / 4 for i in range(5)]
    ends = [end for end in (low, high) if all(abs(at(end) - at(one)) > 0.06 for one in inner)]
    text = "{:.0f}" if whole else "{:.3g}"
    return _Axis(at, [(at(one), text.format(one)) for one in sorted([*inner, *ends])])
