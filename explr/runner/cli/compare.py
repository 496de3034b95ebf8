"""`explr compare`: shows in which parameters and data runs differ, and their metrics."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from explr.core.errors import UsageError
from explr.results.run import Curve, RunView, differing, differing_data, read_run
from explr.results.table import SideBySide, show
from explr.results.text import number

MISSING = "-"

DIGITS = 12
"""Digits of a hash that are shown; JSON output has all of them."""


def compare(names: Sequence[str], png: Path | None, as_json: bool) -> None:
    """Print runs side by side.

    Args:
        names: folders of runs or trials, `best:` and the folder of a sweep, or ids in MLflow.
        png: file for a plot of their curves; None draws none.
        as_json: print JSON, for programs.

    Raises:
        UsageError: there is no such run, or the plot cannot be drawn or written.
        TrackingError: MLflow does not answer.
    """
    runs = [read_run(name, png is not None) for name in names]
    if as_json:
        click.echo(json.dumps(_content(runs), indent=2))
    else:
        _print(runs)
    if png is not None:
        draw(runs, png)
        click.echo(f"plot: {png}", err=as_json)


def _content(runs: Sequence[RunView]) -> dict[str, Any]:
    return {
        "differing": differing(runs),
        "differing_data": differing_data(runs),
        "runs": [
            {
                "name": run.name,
                "state": run.state,
                "params": run.params,
                "data": run.data,
                # JSON has no NaN or infinity.
                "metrics": {k: v if math.isfinite(v) else None for k, v in run.metrics.items()},
            }
            for run in runs
        ],
    }


def _print(runs: Sequence[RunView]) -> None:
    differ = differing(runs)
    rows = [["state", *(run.state or MISSING for run in runs)]]
    rows += [[name, *(_short(run.params.get(name, MISSING)) for run in runs)] for name in differ]
    rows += [
        [f"data {name}", *(run.data.get(name, MISSING)[:DIGITS] for run in runs)]
        for name in differing_data(runs)
    ]
    for name in dict.fromkeys(name for run in runs for name in run.metrics):
        values = [run.metrics.get(name) for run in runs]
        rows.append([name, *(MISSING if value is None else number(value) for value in values)])
    shorts = [f"run {place + 1}" for place in range(len(runs))]
    show(SideBySide([run.name for run in runs], shorts, rows))
    if not differ:
        click.echo("all parameters are the same")


def draw(runs: Sequence[RunView], png: Path) -> None:
    """Plot the curves of runs, one chart per metric.

    Args:
        runs: the runs.
        png: the file to write; matplotlib takes the format from its suffix.

    Raises:
        UsageError: there are no curves, or the file cannot be written.
    """
    curves = [pair for run in runs for pair in run.curves.items()]
    names = list(dict.fromkeys(name for name, curve in curves if len(curve) > 1))
    if not names:
        raise UsageError("there are no curves to plot: no metric has values at several steps")
    from matplotlib.figure import Figure  # a dependency of MLflow

    rows = math.ceil(len(names) / 2)
    figure = Figure(figsize=(12, 3.6 * rows), layout="constrained")
    fields = figure.subplots(rows, 2, squeeze=False).flat
    for at, field in enumerate(fields):
        if at >= len(names):
            field.set_visible(False)
            continue
        for place, run in enumerate(runs):
            curve: Curve = run.curves.get(names[at], [])
            field.plot(
                [step for step, _ in curve],
                [value for _, value in curve],
                color=f"C{place}",
                marker="." if len(curve) < 30 else None,
                label=_plain(f"{place + 1}: {run.name}"),
            )
        field.set_title(names[at], parse_math=False)
        field.set_xlabel("step")
        field.grid(alpha=0.3)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center")
    try:
        figure.savefig(png, dpi=110)
    except OSError as error:
        raise UsageError(f"{png} cannot be written: {error.strerror or error}") from None
    except ValueError as error:  # an unknown suffix
        raise UsageError(f"{png} cannot be written: {error}") from None


def _short(text: str) -> str:
    """A parameter's value, rounded for people; JSON output has all digits."""
    try:
        return number(float(text)) if "." in text else text
    except ValueError:
        return text


def _plain(text: str) -> str:
    """A text that matplotlib does not parse as a formula."""
    return text.replace("$", r"\$")
