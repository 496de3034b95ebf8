"""The sections of a report that hold charts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from html import escape
from typing import TYPE_CHECKING

from explr.core.errors import UsageError
from explr.results.report import figures
from explr.results.report.drawn import SHOWN, Drawn
from explr.results.sweep import SweepView

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

PRUNED = "Pruned trials are orange, at the last value that they reported."
VOLUME = (
    "How much the Pareto front dominates, after each trial: the hypervolume between it and a "
    "reference point, which has the worst value of each objective among the completed trials that "
    "satisfy the constraints."
)
INFEASIBLE = "Infeasible trials, which violate a constraint, are grey."


def sections(sweep: SweepView) -> tuple[list[str], list[Figure], dict[int, str]]:
    """The sections, their figures, and the tooltips.

    Args:
        sweep: the sweep.

    Returns:
        The sections as HTML, in which `data-figure` is an index of the figures; the figures; the
        tooltip of each trial by its number.
    """
    drawn = [Drawn(sweep, objective) for objective in range(len(sweep.metrics))]
    made = _Sections()
    if len(sweep.trials) > SHOWN:
        made.html.append(
            f"<p>Charts draw the best trials and up to {SHOWN} others, spread evenly. The best "
            "value so far, the importances and the table are those of all trials.</p>"
        )
    if len(drawn) > 1:
        made.add_some(
            "Pareto front",
            "Trials on the front are green: no other trial beats them in all objectives.",
            partial(figures.fronts, drawn[0]),
        )
        made.add_some("Hypervolume history", VOLUME, partial(figures.volumes, drawn[0]))
    for each in drawn:
        made.of = escape(sweep.metrics[each.objective]) if len(drawn) > 1 else ""
        made.add("Optimization history", _states(each), partial(figures.history, each))
    made.of = ""
    made.add(
        "Intermediate values",
        "Each line is a trial. Pruned trials are orange and end in a cross; the best is green.",
        partial(figures.intermediate, drawn[0]),
    )
    for each in drawn:
        if len(drawn) > 1:
            made.html.append(
                f"<h2>Hyperparameters and {escape(sweep.metrics[each.objective])}</h2>"
            )
        made.of = escape(sweep.metrics[each.objective]) if len(drawn) > 1 else ""
        _of_parameters(made, each)
    made.of = ""
    made.add("Timeline", "When each trial ran.", partial(figures.timeline, drawn[0]))
    texts = {number: drawn[0].about(trial) for one in drawn for number, trial in one.trials.items()}
    return made.html, made.figures, texts


def _of_parameters(made: _Sections, drawn: Drawn) -> None:
    made.add(
        "Importance of hyperparameters",
        "How much of the differences in value each parameter explains (fANOVA), and how much its "
        "values in the best trials differ from those in all trials (PED-ANOVA). Completed trials "
        "only; each sums to 1.",
        partial(figures.importance, drawn),
    )
    made.add(
        "Parallel coordinates",
        "Each line is a trial: the bluer, the better. Pruned trials are orange, with the last "
        "value that they reported.",
        partial(figures.parallel_coordinates, drawn),
    )
    made.add_some("Slices", _states(drawn), partial(figures.slices, drawn))
    made.add(
        "Contour",
        "The two most important parameters. Dots are completed trials; colours between them are "
        "estimated.",
        partial(figures.contour, drawn),
    )
    made.add(
        "Rank",
        "Completed trials over the same two parameters, coloured by the rank of their value.",
        partial(figures.rank, drawn),
    )
    made.add(
        "Empirical distribution",
        "The share of completed trials whose value is at most that on the axis.",
        partial(figures.distribution, drawn),
    )


def _states(drawn: Drawn) -> str:
    """What the colours of a chart mean."""
    infeasible = any(trial.shown_state == "INFEASIBLE" for trial in drawn.trials.values())
    return f"{PRUNED} {INFEASIBLE}" if infeasible else PRUNED


class _Sections:
    """Sections of a page, one after the other."""

    def __init__(self) -> None:
        self.html: list[str] = []
        self.figures: list[Figure] = []
        self.of = ""

    def add(self, title: str, about: str, draw: Callable[[], Figure]) -> None:
        """A section with one chart; a sentence in place of it if it cannot be drawn."""
        self.add_some(title, about, lambda: [("", draw())])

    def add_some(
        self, title: str, about: str, draw: Callable[[], Iterable[tuple[str, Figure]]]
    ) -> None:
        """A section with several charts, each with a title."""
        self.html.append(f"<h2>{title}{f' of {self.of}' if self.of else ''}</h2>")
        try:
            charts = list(draw())
        except UsageError as error:
            self.html.append(f"<p>{escape(str(error))}</p>")
            return
        if not charts:
            self.html.append(f"<p>{figures.NONE_COMPLETE}</p>")
            return
        kind = "charts" if len(charts) > 1 else "charts one"
        self.html.append(f'<p>{about}</p><div class="{kind}">')
        for name, figure in charts:
            place = f'<figure data-figure="{len(self.figures)}"></figure>'
            self.html.append(f"<div><h3>{name}</h3>{place}</div>" if name else place)
            self.figures.append(figure)
        self.html.append("</div>")
