"""The summary at the end of a sweep: a table of the best trials, counts, savings by pruning."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from explr.core.folders import best_first
from explr.core.secrets.masking import redacted, redacted_text
from explr.results.text import brief, number, plain
from explr.utils.console import is_terminal

SHOWN = 5
"""Trials in the table."""


@dataclass(frozen=True)
class Table:
    """Trials side by side.

    Args:
        head: titles of the columns.
        rows: for each trial the texts of its columns.
    """

    head: list[str]
    rows: list[list[str]]


def best_trials(
    trials: Sequence[Mapping[str, Any]], directions: Sequence[str], front: Sequence[Any] = ()
) -> list[Mapping[str, Any]]:
    """The best of the completed trials, the best one first.

    Args:
        trials: the trials as in `results.json`.
        directions: `minimize` or `maximize` for each objective.
        front: with several objectives, the trials of the Pareto front.
    """
    if len(directions) > 1:
        return list(front)[:SHOWN]
    return best_first(trials, directions[0] == "minimize")[:SHOWN]


def table_of(
    trials: Sequence[Mapping[str, Any]], metrics: Sequence[str], shown: Path | None
) -> Table:
    """A table of trials.

    Args:
        trials: the trials as in `results.json`.
        metrics: name of each objective.
        shown: path of the sweep's folder to show; None leaves the folders out.
    """
    names = list(dict.fromkeys(name for trial in trials for name in trial["params"]))
    head = ["trial", *metrics, *names, "duration", *(["folder"] if shown is not None else [])]
    rows = []
    for trial in trials:
        values = trial["value"] if isinstance(trial["value"], list) else [trial["value"]]
        params = redacted(dict(trial["params"]))
        took = trial["duration_s"]
        rows.append(
            [
                str(trial["number"]),
                *map(number, values),
                *(plain(params[name]) if name in params else "" for name in names),
                "" if took is None else brief(took),
                *([str(shown / Path(trial["dir"]).name)] if shown is not None else []),
            ]
        )
    return Table(head, rows)


def counts_line(trials: Sequence[Mapping[str, Any]]) -> str:
    """The number of trials in each state."""
    states = [trial["state"] for trial in trials]
    counts = ", ".join(f"{states.count(s)} {s.lower()}" for s in dict.fromkeys(states))
    return f"{len(states)} trials: {counts}"


def pruned_line(trials: Sequence[Mapping[str, Any]]) -> str | None:
    """The steps that pruning saved, compared with the longest trial; None if it saved none."""
    longest = max((t["steps"] for t in trials if t["state"] == "COMPLETE"), default=0)
    pruned = [trial["steps"] for trial in trials if trial["state"] == "PRUNED"]
    saved = sum(max(0, longest - steps) for steps in pruned)
    if not saved:
        return None
    whole = saved + sum(trial["steps"] for trial in trials)
    word = "trial" if len(pruned) == 1 else "trials"
    return f"{len(pruned)} pruned {word} saved about {saved} of {whole} steps ({saved / whole:.0%})"


def show(table: Table, lines: Sequence[str]) -> None:
    """Print a table and lines below it; outside a terminal as plain text."""
    table = Table(table.head, [[redacted_text(cell) for cell in row] for row in table.rows])
    drawn = is_terminal(sys.stdout)
    if drawn:
        _draw(table)
    for line in [*([] if drawn else aligned(table)), *map(redacted_text, lines)]:
        print(line)


def aligned(table: Table) -> list[str]:
    """A table as aligned lines of text."""
    if not table.rows:
        return []
    every = [table.head, *table.rows]
    widths = [max(len(row[i]) for row in every) for i in range(len(table.head))]
    last = len(widths) - 1
    return [
        "  ".join(
            cell if i == last else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in every
    ]


def _draw(table: Table) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as Drawing
    from rich.text import Text

    if not table.rows:
        return
    drawing = Drawing(box=SIMPLE_HEAD, show_edge=False)
    for i, title in enumerate(table.head):
        folder = title == "folder" and i == len(table.head) - 1
        drawing.add_column(Text(title), justify="left" if folder else "right", overflow="fold")
    for place, row in enumerate(table.rows):
        drawing.add_row(*map(Text, row), style="bold green" if place == 0 else None)
    console = Console()
    console.print(drawing)
    console.print()
