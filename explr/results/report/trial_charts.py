"""Charts of trials: history, reported values, Pareto front, timeline."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import accumulate, combinations, pairwise

from explr.results.report.svg import Axis, Plot, can_be_drawn
from explr.results.sweep import SweepView
from explr.results.text import number, plain
from explr.results.trial import TrialView

COLOURS = {
    "COMPLETE": "#2563eb",
    "PRUNED": "#f59e0b",
    "FAIL": "#dc2626",
    "RUNNING": "#6b7280",
    "WAITING": "#d1d5db",
}
"""Colour of each state."""

BEST = "#059669"

SHOWN = 1000
"""Number of trials that a chart draws besides the best ones."""

UNITS = (("h", 3600), ("min", 60), ("s", 1))

WIDE = 100.0
"""Ratio of the largest to the smallest value from which an axis is logarithmic."""


def history(sweep: SweepView) -> Iterator[str]:
    """The value of each trial, and the best value so far."""
    for index, metric in enumerate(sweep.metrics):
        trials = drawable(sweep.complete, index)
        if not trials:
            continue
        values = [trial.values[index] for trial in trials]
        x = Axis.of("trial", [trial.number for trial in trials])
        plot = Plot(x, value_axis(metric, values))
        if len(sweep.metrics) == 1:
            so_far = list(accumulate(values, min if sweep.minimize[index] else max))
            steps = list(zip((trial.number for trial in trials), so_far, strict=True))
            corners = [
                point
                for before, after in pairwise(steps)
                if after[1] != before[1]
                for point in ((after[0], before[1]), after)
            ]
            plot.line([steps[0], *corners, steps[-1]], BEST, "best so far", 2)
        for trial in thinned(sweep, trials):
            best = trial.number in sweep.best
            point = (trial.number, trial.values[index])
            colour = BEST if best else COLOURS["COMPLETE"]
            plot.dot(point, colour, about(sweep, trial), 6 if best else 4)
        yield plot.render()


def intermediate(sweep: SweepView) -> Iterator[str]:
    """The reported values of each trial by step."""
    told = [trial for trial in sweep.trials if trial.frozen.intermediate_values]
    reported = {
        trial.number: [
            (s, v) for s, v in sorted(trial.frozen.intermediate_values.items()) if can_be_drawn(v)
        ]
        for trial in thinned(sweep, told)
    }
    points = [point for curve in reported.values() for point in curve]
    if not points:
        return
    x = Axis.of("step", [step for step, _ in points])
    plot = Plot(x, value_axis(sweep.metrics[0], [value for _, value in points]))
    # What matters more is drawn over the rest.
    for trial in sorted(sweep.trials, key=lambda t: (t.number in sweep.best, t.is_complete)):
        if curve := reported.get(trial.number):
            best = trial.number in sweep.best
            colour = BEST if best else COLOURS[trial.state]
            plot.line(curve, colour, about(sweep, trial), 3 if best else 1.2)
            if trial.state == "PRUNED" or len(curve) == 1:
                plot.dot(curve[-1], colour, about(sweep, trial), 3)
    yield plot.render()


def pareto(sweep: SweepView) -> Iterator[str]:
    """Each pair of objectives; the trials of the Pareto front are highlighted."""
    if not sweep.complete:
        return
    for first, second in combinations(range(len(sweep.metrics)), 2):
        trials = drawable(drawable(sweep.complete, first), second)
        if not trials:
            continue
        x, y = (
            value_axis(sweep.metrics[i], [trial.values[i] for trial in trials])
            for i in (first, second)
        )
        plot = Plot(x, y, height=400)
        if len(sweep.metrics) == 2:
            front = {(t.values[0], t.values[1]) for t in trials if t.number in sweep.best}
            plot.line(sorted(front), BEST, "Pareto front", 2)
        for trial in sorted(thinned(sweep, trials), key=lambda t: t.number in sweep.best):
            best = trial.number in sweep.best
            point = (trial.values[first], trial.values[second])
            colour = BEST if best else COLOURS["COMPLETE"]
            plot.dot(point, colour, about(sweep, trial), 6 if best else 4)
        yield plot.render()


def timeline(sweep: SweepView) -> Iterator[str]:
    """When each trial ran; a row holds trials that ran one after the other."""
    now = datetime.now()
    spans = sorted(  # the clock may have been set back since the start
        (begun.timestamp(), max(begun, frozen.datetime_complete or now).timestamp(), frozen.number)
        for frozen in (trial.frozen for trial in sweep.trials)
        if (begun := frozen.datetime_start) is not None
    )
    if not spans:
        return
    free_at: list[float] = []
    slots: list[int] = []
    for start, end, _ in spans:
        slot = next((i for i, free in enumerate(free_at) if free <= start), len(free_at))
        free_at[slot : slot + 1] = [end]
        slots.append(slot)
    zero, span_s = spans[0][0], max(free_at) - spans[0][0]
    unit, unit_s = next(each for each in UNITS if span_s >= 3 * each[1] or each[1] == 1)
    x = Axis.of(f"time since the start [{unit}]", [0, span_s / unit_s])
    names = tuple(f"slot {slot}" for slot in reversed(range(len(free_at))))
    plot = Plot(x, Axis("", choices=names), height=60 + 24 * len(names))
    drawn = {trial.number for trial in thinned(sweep, sweep.trials)}
    for (start, end, number_of), slot in zip(spans, slots, strict=True):
        if number_of not in drawn:
            continue
        trial = sweep.trials[number_of]
        ends = ((start - zero) / unit_s, (end - zero) / unit_s)
        plot.bar(ends, f"slot {slot}", COLOURS[trial.state], about(sweep, trial))
    yield plot.render()


def about(sweep: SweepView, trial: TrialView) -> str:
    """The tooltip of a trial."""
    values = [
        f"{metric} {number(value)}"
        for metric, value in zip(sweep.metrics, trial.values, strict=False)
    ]
    params = [f"{name}={plain(value)}" for name, value in trial.params.items()]
    return "\n".join([f"trial {trial.number} {trial.state}", *values, *params])


def thinned(sweep: SweepView, trials: Sequence[TrialView]) -> list[TrialView]:
    """The best of some trials, and up to `SHOWN` others that are spread evenly."""
    apart = math.ceil(len(trials) / SHOWN)
    last = len(trials) - 1
    return [
        trial
        for i, trial in enumerate(trials)
        if (last - i) % apart == 0 or trial.number in sweep.best
    ]


def drawable(trials: Sequence[TrialView], index: int) -> list[TrialView]:
    """The trials whose value of an objective can be drawn."""
    return [trial for trial in trials if can_be_drawn(trial.values[index])]


def value_axis(title: str, values: Sequence[float]) -> Axis:
    """An axis for values of an objective, logarithmic for a wide range."""
    low, high = min(values), max(values)
    return Axis.of(title, values, log=low > 0 and high / low >= WIDE)
