"""The charts of a sweep: those of `optuna.visualization`, with every state shown as what it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import TYPE_CHECKING, Any

from explr.core.errors import UsageError
from explr.results.report import parallel
from explr.results.report.colours import BEST, COLOURS, SCALE
from explr.results.report.drawn import Drawn
from explr.results.report.dress import marks, param_axis, say, step_axis, value_axis
from explr.results.report.importance import FANOVA, PED_ANOVA, known, quietly
from explr.results.text import spans_decades
from explr.results.trial import TrialView

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

NONE_COMPLETE = "No completed trial has a value that can be drawn."

FEWEST = 10
"""Completed trials from which a contour and ranks say something."""

MOST_IN_CONTOUR = 150
"""Trials that a contour is drawn from: it has a cell for each pair of their values."""

METHODS = {FANOVA: COLOURS["COMPLETE"], PED_ANOVA: COLOURS["WAITING"]}
"""Colour of each method that assesses importances."""

THINNEST = 250
"""Bars of a timeline below one another, of which each is about a pixel high."""

FRONT = "Pareto front"

ORDER = ("WAITING", "FAIL", "RUNNING", "PRUNED", "INFEASIBLE", "COMPLETE")
"""States, those that matter more last, on top of the others."""


def history(drawn: Drawn) -> Figure:
    """The value of each trial and the best so far; pruned trials with the last value reported."""
    from optuna.visualization import plot_optimization_history

    pruned, failed = drawn.with_value("PRUNED"), drawn.in_state("FAIL")
    complete = drawn.with_value("COMPLETE")
    if not complete and not pruned:
        raise UsageError(NONE_COMPLETE)
    with quietly():
        figure = plot_optimization_history(
            drawn.counted, target=drawn.target, target_name=drawn.metric
        )
    numbers = [trial.number for trial in complete]
    for trace in figure.data:
        trace.x = [numbers[i] for i in trace.x]
        if trace.name == "Best Value":
            finite = [value if math.isfinite(value) else None for value in trace.y]
            trace.update(
                name="best so far", y=finite, line={"color": BEST, "width": 2, "shape": "hv"}
            )
            continue
        state = "INFEASIBLE" if trace.name == "Infeasible Trial" else "COMPLETE"
        trace.update(
            name=state.lower(),
            marker={"color": COLOURS[state], "size": 7},
            customdata=trace.x,
            showlegend=bool(trace.x),
        )
    best = [trial for trial in complete if trial.number in drawn.sweep.best]
    _add(figure, "pruned", pruned, drawn, color=COLOURS["PRUNED"], symbol="x", size=6)
    _add(figure, "best", best, drawn, color=BEST, symbol="star", size=13)
    if failed:
        figure.add_scatter(
            name="failed", x=[t.number for t in failed], y=[0.015] * len(failed), yaxis="y2",
            mode="markers", customdata=[t.number for t in failed],
            marker={"color": COLOURS["FAIL"], "symbol": "triangle-up", "size": 8},
        )  # fmt: skip
        figure.update_layout(yaxis2={"overlaying": "y", "range": [0, 1], "visible": False})
    step_axis(figure.layout.xaxis, "trial", list(drawn.trials))
    value_axis(figure.layout.yaxis, drawn.metric, drawn.values([*complete, *pruned]))
    return say(figure)


def _add(figure: Figure, name: str, trials: list[TrialView], drawn: Drawn, **marker: Any) -> None:
    if trials:
        numbers = [trial.number for trial in trials]
        figure.add_scatter(
            name=name, x=numbers, y=drawn.values(trials), mode="markers", marker=marker,
            customdata=numbers,
        )  # fmt: skip


def intermediate(drawn: Drawn) -> Figure:
    """The reported values of each trial by step, coloured by its state."""
    from optuna.visualization import plot_intermediate_values

    with quietly():
        lines = plot_intermediate_values(drawn.every).data
    if not any(line.x for line in lines):
        raise UsageError("No trial has reported an intermediate value.")
    curves: dict[str, dict[str, list[Any]]] = {}
    last: dict[str, dict[str, list[Any]]] = {}
    for line in lines:  # a trace a trial would take a browser seconds
        number = int(line.name.removeprefix("Trial"))
        state = drawn.trials[number].shown_state
        if number in drawn.sweep.best:
            state = "best"
        curve = curves.setdefault(state, {"x": [], "y": [], "customdata": []})
        for key, values in (("x", line.x), ("y", line.y), ("customdata", [number] * len(line.x))):
            curve[key] += [*values, None]
        if state == "PRUNED" or len(line.x) == 1:
            ends = last.setdefault(state, {"x": [], "y": [], "customdata": []})
            for key, value in (("x", line.x[-1]), ("y", line.y[-1]), ("customdata", number)):
                ends[key].append(value)
    from plotly.graph_objects import Figure

    figure = Figure()
    many = len(lines) > 100
    for state in [*ORDER, "best"]:
        colour = BEST if state == "best" else COLOURS[state]
        name = state.lower()
        if state in curves:
            width = 3 if state == "best" else 0.7 if many else 1.4
            figure.add_scatter(
                **curves[state], name=name, mode="lines", line={"color": colour, "width": width},
                legendgroup=name, opacity=1 if state == "best" else 0.8,
            )  # fmt: skip
        if state in last:
            symbol = "x" if state == "PRUNED" else "circle"
            figure.add_scatter(
                **last[state], name=name, mode="markers", legendgroup=name, showlegend=False,
                marker={"color": colour, "symbol": symbol, "size": 6},
            )  # fmt: skip
    steps = [x for line in lines for x in line.x]
    values = [y for line in lines for y in line.y]
    step_axis(figure.layout.xaxis, "step", steps)
    value_axis(figure.layout.yaxis, drawn.metric, values)
    return say(figure)


def importance(drawn: Drawn) -> Figure:
    """The importance of each parameter, by each method that knows it."""
    from optuna.visualization import plot_param_importances

    found = drawn.importances
    if isinstance(found, UsageError):
        raise found
    figure = None
    for method in reversed(found):
        with quietly():
            each = plot_param_importances(
                drawn.ranked, known(found[method]), target=drawn.target, target_name=drawn.metric
            )
        each.data[0].update(
            name=method, marker={"color": METHODS[method]}, textposition="auto", hovertemplate=None
        )
        figure = each if figure is None else figure.add_trace(each.data[0])
    assert figure is not None
    figure.update_layout(
        barmode="group", height=130 + 34 * len(drawn.names), legend={"traceorder": "reversed"}
    )
    figure.update_xaxes(title="importance", range=[0, 1.05])
    names = drawn.names[::-1]
    figure.update_yaxes(title=None, categoryorder="array", categoryarray=names)
    return say(figure)


def parallel_coordinates(drawn: Drawn) -> Figure:
    """Each trial as a line through its parameters and its value."""
    from optuna.visualization import plot_parallel_coordinate

    if not drawn.names or not drawn.valued.trials:
        raise UsageError(NONE_COMPLETE)
    with quietly():
        figure = plot_parallel_coordinate(
            drawn.valued, target=drawn.target, target_name=drawn.metric
        )
    return say(parallel.redrawn(figure, drawn))


def slices(drawn: Drawn) -> Iterator[tuple[str, Figure]]:
    """For each parameter its name, and the value of each trial over it."""
    for name in drawn.names:
        if any(name in trial.params for trial in drawn.valued.get_trials(deepcopy=False)):
            yield name, slice_of(drawn, name)


def slice_of(drawn: Drawn, name: str) -> Figure:
    """The value of each trial over a parameter."""
    from optuna.visualization import plot_slice

    if name not in drawn.names:
        raise UsageError(f"{name} is not searched: the parameters are {', '.join(drawn.names)}")
    with quietly():
        figure = plot_slice(
            drawn.valued, params=[name], target=drawn.target, target_name=drawn.metric
        )
    marks(figure, drawn, name)
    param_axis(figure.layout.xaxis, drawn, name)
    value_axis(figure.layout.yaxis, drawn.metric, _values(drawn))
    figure.update_layout(height=300)
    return say(figure)


def contour(drawn: Drawn) -> Figure:
    """The values over the two most important parameters, interpolated between completed trials."""
    from optuna.visualization import plot_contour

    pair = _pair(drawn)
    few = drawn.some(MOST_IN_CONTOUR)
    decades = spans_decades([float(trial.values[drawn.objective]) for trial in few.trials])
    value = _value(drawn, decades)
    with quietly():
        figure = plot_contour(few, params=pair, target=value, target_name=drawn.metric)
    heat = figure.data[0]
    if heat.z is None:
        raise UsageError("This needs two parameters that trials have together.")
    title = f"log10 of {drawn.metric}" if decades else drawn.metric
    heat.update(
        colorscale=SCALE, reversescale=drawn.minimize, line={"width": 0.5, "smoothing": 0},
        colorbar={"title": {"text": title, "side": "right"}, "thickness": 12},
    )  # fmt: skip
    _in_order(heat, drawn, *sorted(pair))
    numbers = _numbers(few, sorted(pair))
    for points, colour, feasible in zip(
        figure.data[1:], ("#111827", COLOURS["INFEASIBLE"]), (True, False), strict=True
    ):
        points.update(
            marker={"size": 5, "color": colour, "line": {"color": "#fff", "width": 1}},
            customdata=[n for n in numbers if drawn.trials[n].is_feasible is feasible],
        )
    for axis, name in zip((figure.layout.xaxis, figure.layout.yaxis), sorted(pair), strict=True):
        param_axis(axis, drawn, name)
    figure.update_layout(height=440)
    return say(figure)


def _in_order(heat: Any, drawn: Drawn, x: str, y: str) -> None:
    """Put the choices of a contour, which Optuna sorts by their letters, in the config's order."""
    import numpy as np

    z = np.asarray(heat.z, float)
    for key, name, axis in (("x", x, 1), ("y", y, 0)):
        if (choices := drawn.choices(name)) is not None:
            held = [str(choice) for choice in heat[key]]
            order = [held.index(choice) for choice in choices if choice in held]
            z = np.take(z, order, axis)
            heat[key] = [held[i] for i in order]
    heat.z = [[None if math.isnan(one) else float(f"{one:.5g}") for one in row] for row in z]


def rank(drawn: Drawn) -> Figure:
    """The completed trials over the two most important parameters, coloured by rank."""
    from optuna.visualization import plot_rank

    pair = _pair(drawn)
    with quietly():
        figure = plot_rank(
            drawn.complete, params=pair, target=drawn.target, target_name=drawn.metric
        )
    figure.data[0].update(customdata=_numbers(drawn.complete, pair), hovertext=None)
    figure.data[0].marker.size = 8
    figure.data[-1].marker.colorbar.update(
        title={"text": drawn.metric, "side": "right"}, thickness=12
    )
    for axis, name in zip((figure.layout.xaxis, figure.layout.yaxis), pair, strict=True):
        param_axis(axis, drawn, name)
    figure.update_layout(height=440)
    return say(figure)


def distribution(drawn: Drawn) -> Figure:
    """The share of completed trials with at most each value."""
    from optuna.visualization import plot_edf

    trials = drawn.with_value("COMPLETE")
    if len(trials) < 2:
        raise UsageError("This needs two completed trials.")
    values = drawn.values(trials)
    decades = spans_decades(values)
    value = _value(drawn, decades)
    with quietly():
        figure = plot_edf(drawn.complete, target=value, target_name=drawn.metric)
    line = figure.data[0]
    line.update(
        x=[10 ** float(x) if decades else float(x) for x in line.x], name="completed trials",
        line={"color": COLOURS["COMPLETE"], "shape": "hv"},
    )  # fmt: skip
    value_axis(figure.layout.xaxis, drawn.metric, values)
    figure.update_yaxes(title="share of trials", range=[0, 1.02], tickformat=".0%")
    return say(figure)


def timeline(drawn: Drawn) -> Figure:
    """When each trial ran, coloured by its state."""
    from optuna.visualization import plot_timeline

    if not any(trial.frozen.datetime_start for trial in drawn.trials.values()):
        raise UsageError("No trial has started.")
    with quietly():
        figure = plot_timeline(drawn.every)
    for bars in figure.data:
        colour = COLOURS[bars.name.upper()]
        bars.update(
            name=bars.name.lower(), marker={"color": colour, "line": {"color": colour, "width": 1}},
            customdata=list(bars.y), text=None, width=max(0.9, len(drawn.sweep.trials) / THINNEST),
        )  # fmt: skip
    figure.update_xaxes(title=None)
    figure.update_layout(barmode="overlay", bargap=0.15)
    step_axis(figure.layout.yaxis, "trial", list(drawn.trials))
    figure.update_yaxes(autorange="reversed")
    return say(figure)


def fronts(drawn: Drawn) -> Iterator[tuple[str, Figure]]:
    """For each pair of objectives a title, and its Pareto front."""
    metrics = [drawn.text(metric) for metric in drawn.sweep.metrics]
    for first, second in combinations(range(len(metrics)), 2):
        yield f"{metrics[first]} and {metrics[second]}", pareto(drawn, first, second)


def pareto(drawn: Drawn, first: int = 0, second: int = 1) -> Figure:
    """Two objectives; the trials of the Pareto front of all objectives are highlighted."""
    from optuna.visualization import plot_pareto_front

    if len(drawn.sweep.metrics) < 2:
        raise UsageError("A Pareto front needs several objectives.")
    trials = drawn.complete.get_trials(deepcopy=False)
    if not trials:
        raise UsageError(NONE_COMPLETE)
    pair = [drawn.text(drawn.sweep.metrics[i]) for i in (first, second)]

    def two(trial: Any) -> list[float]:
        return [trial.values[i] for i in (first, second)]

    with quietly():
        figure = plot_pareto_front(drawn.complete, targets=two, target_names=pair)
    shown = {t.number: drawn.trials[t.number].shown_state.lower() for t in trials}
    shown |= dict.fromkeys(shown.keys() & drawn.sweep.best, FRONT)
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("infeasible", {"color": COLOURS["INFEASIBLE"]}),
        ("complete", {"color": COLOURS["COMPLETE"]}),
        (FRONT, {"color": BEST, "size": 10, "symbol": "star"}),
    ]
    # Without constraints Optuna draws no infeasible trials.
    for points, (kind, marker) in zip(figure.data, kinds[-len(figure.data) :], strict=True):
        points.update(
            marker={**marker, "showscale": False, "line": None}, name=kind,
            showlegend=bool(points.x),
            customdata=[number for number, held in shown.items() if held == kind],
        )  # fmt: skip
    for axis, i in ((figure.layout.xaxis, first), (figure.layout.yaxis, second)):
        value_axis(axis, drawn.text(drawn.sweep.metrics[i]), [t.values[i] for t in trials])
    return say(figure)


def volumes(drawn: Drawn) -> Iterator[tuple[str, Figure]]:
    """The reference point of the hypervolumes, and their history."""
    yield f"reference point: {drawn.worst_named}", hypervolume(drawn)


def hypervolume(drawn: Drawn) -> Figure:
    """The hypervolume of the Pareto front after each trial.

    The reference point has the worst value of each objective among the completed trials.
    """
    from optuna.visualization import plot_hypervolume_history

    if len(drawn.sweep.metrics) < 2:
        raise UsageError("A hypervolume needs several objectives.")
    with quietly():
        figure = plot_hypervolume_history(drawn.ranked, drawn.worst)
    figure.data[0].update(mode="lines", line={"color": BEST, "width": 2, "shape": "hv"})
    step_axis(figure.layout.xaxis, "trial", list(figure.data[0].x))
    figure.update_yaxes(title="hypervolume", rangemode="tozero")
    return say(figure)


def _value(drawn: Drawn, decades: bool) -> Callable[[Any], float]:
    """The value of a trial, or its logarithm where values span decades."""

    def value(trial: Any) -> float:
        found = float(trial.values[drawn.objective])
        return math.log10(found) if decades else found

    return value


def _values(drawn: Drawn) -> list[float]:
    return [
        float(trial.values[drawn.objective]) for trial in drawn.valued.get_trials(deepcopy=False)
    ]


def _pair(drawn: Drawn) -> list[str]:
    """The two most important parameters that vary among the completed trials."""
    trials = drawn.complete.get_trials(deepcopy=False)
    if len(trials) < FEWEST:
        raise UsageError(f"This needs {FEWEST} completed trials.")
    together: list[str] = []
    for name in drawn.names:
        held = [t for t in trials if all(one in t.params for one in [*together, name])]
        if len(held) >= FEWEST and len({str(t.params[name]) for t in held}) > 1:
            together.append(name)
        if len(together) == 2:
            return together
    raise UsageError("This needs two parameters that vary, and that trials have together.")


def _numbers(study: Any, names: list[str]) -> list[int]:
    """Numbers of the trials that have all of some parameters, as Optuna's charts draw them."""
    trials = study.get_trials(deepcopy=False)
    return [trial.number for trial in trials if all(name in trial.params for name in names)]
