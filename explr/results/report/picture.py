"""Draws the charts of a sweep as one picture, with matplotlib."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explr.core.errors import UsageError
from explr.results.report.colours import BEST, COLOURS
from explr.results.report.drawn import Drawn
from explr.results.report.importance import known, quietly
from explr.results.sweep import SweepView
from explr.results.text import spans_decades

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

log = logging.getLogger("explr")

SIZE = (10.0, 4.2)
"""Width and height of a chart in inches."""

DPI = 110


def write_picture(sweep: SweepView, png: Path) -> None:
    """Write the charts of a sweep below one another.

    Args:
        sweep: the sweep.
        png: the file to write.

    Raises:
        UsageError: no chart can be drawn, or the file cannot be written.
    """
    import matplotlib
    import numpy as np

    matplotlib.use("Agg")
    from matplotlib import pyplot

    if not png.absolute().parent.is_dir():
        raise UsageError(f"{png} cannot be written: there is no folder {png.absolute().parent}")
    with quietly(), pyplot.style.context("default"):
        charts = list(_charts(sweep))
    if not charts:
        raise UsageError(f"the trials of {sweep.folder} do not make a chart yet")
    width = max(chart.shape[1] for chart in charts)
    whole = np.concatenate(
        [
            np.pad(chart, ((0, 0), (0, width - chart.shape[1]), (0, 0)), constant_values=1)
            for chart in charts
        ]
    )
    try:
        pyplot.imsave(png, whole, format="png")
    except OSError as error:
        raise UsageError(f"{png} cannot be written: {error.strerror or error}") from None


def _charts(sweep: SweepView) -> Iterator[NDArray[Any]]:
    from optuna.visualization import matplotlib as plots

    first = Drawn(sweep, markup=False)
    if len(sweep.metrics) == 2 and first.complete.trials:
        names = list(sweep.metrics)
        yield _picture(plots.plot_pareto_front, first.complete, target_names=names)
    if len(sweep.metrics) > 1:
        try:
            yield _picture(_hypervolume, first, first.worst)
        except UsageError as error:
            log.info("the picture has no hypervolume history: %s", error)
    for objective, metric in enumerate(sweep.metrics):
        drawn = Drawn(sweep, objective, markup=False)
        of: dict[str, Any] = {"target": drawn.target, "target_name": metric}
        if drawn.with_value("COMPLETE") or drawn.with_value("PRUNED"):
            yield _picture(_history, drawn, metric, of)
        if objective == 0 and any(t.frozen.intermediate_values for t in drawn.trials.values()):
            yield _picture(_intermediate, drawn, metric)
        if isinstance(drawn.importances, dict):
            evaluator = known(next(iter(drawn.importances.values())))
            yield _picture(plots.plot_param_importances, drawn.ranked, evaluator=evaluator, **of)
        if drawn.names and drawn.complete.trials:
            yield _picture(plots.plot_slice, drawn.complete, **of)
        if len(drawn.complete.trials) > 1:
            yield _picture(plots.plot_edf, drawn.complete, **of)
    if any(trial.frozen.datetime_start for trial in first.trials.values()):
        yield _picture(plots.plot_timeline, first.every)


def _hypervolume(drawn: Drawn, reference: list[float]) -> None:
    """Optuna's hypervolume history, with its reference point."""
    from optuna.visualization.matplotlib import plot_hypervolume_history

    axes = plot_hypervolume_history(drawn.ranked, reference)
    for line in axes.lines:
        line.set(marker="", drawstyle="steps-post", color=BEST, alpha=1)
    axes.set_title(f"Hypervolume, reference point: {drawn.worst_named}")


def _history(drawn: Drawn, metric: str, of: dict[str, Any]) -> None:
    """Optuna's history, and the pruned trials at the last value that they reported."""
    from optuna.visualization.matplotlib import plot_optimization_history

    axes = plot_optimization_history(drawn.counted, **of)
    complete, pruned = drawn.with_value("COMPLETE"), drawn.with_value("PRUNED")
    feasible = [trial for trial in complete if trial.is_feasible]
    infeasible = [trial for trial in complete if not trial.is_feasible]
    numbers = [trial.number for trial in complete]
    for line in axes.lines:
        at: Any = line.get_xdata()
        line.set(xdata=[numbers[int(i)] for i in at], drawstyle="steps-post")
    for points, chosen in zip(axes.collections, (feasible, infeasible), strict=False):
        if chosen:
            places = [trial.number for trial in chosen]
            points.set_offsets(list(zip(places, drawn.values(chosen), strict=True)))
    if infeasible:
        axes.collections[1].set(color=COLOURS["INFEASIBLE"], label="Infeasible")
    if pruned:
        axes.scatter(
            [trial.number for trial in pruned], drawn.values(pruned), marker="x",
            color=COLOURS["PRUNED"], label="Pruned",
        )  # fmt: skip
    if infeasible or pruned:
        axes.legend()
    _scaled(axes, drawn, metric)


def _intermediate(drawn: Drawn, metric: str) -> None:
    """Optuna's intermediate values, coloured by the state of their trials."""
    from optuna.visualization.matplotlib import plot_intermediate_values

    axes = plot_intermediate_values(drawn.every)
    for line in axes.lines:
        number = int(str(line.get_label()).removeprefix("Trial"))
        best = number in drawn.sweep.best
        line.set_color(BEST if best else COLOURS[drawn.trials[number].shown_state])
        line.set(marker="", zorder=3 if best else 2)
    if legend := axes.get_legend():
        legend.remove()
    _scaled(axes, drawn, metric)


def _scaled(axes: Axes, drawn: Drawn, metric: str) -> None:
    axes.set_ylabel(metric)
    axes.relim()
    axes.autoscale()
    if spans_decades(drawn.values([t for t in drawn.trials.values() if drawn.has_value(t)])):
        axes.set_yscale("log")


def _picture(draw: Callable[..., Any], *arguments: Any, **named: Any) -> NDArray[Any]:
    """A chart as an array of red, green, blue and opacity, from 0 to 1."""
    from matplotlib import pyplot

    draw(*arguments, **named)
    figure = pyplot.gcf()
    figure.set_size_inches(max(SIZE[0], figure.get_size_inches()[0]), SIZE[1])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight", facecolor="white")
    pyplot.close(figure)
    buffer.seek(0)
    return pyplot.imread(buffer)
