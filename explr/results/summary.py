"""The summary at the end of a sweep: a table of the best trials, counts, savings by pruning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from explr.core.folders import best_first
from explr.core.secrets.masking import redacted_text
from explr.results.grid import own_grid
from explr.results.table import Column, FittedTable, Row, hanging, show
from explr.results.text import brief, number, param_texts, params_text

SHOWN = 5
"""Trials in the table."""

MOST_VALUES = 3
"""Objectives that have a column; the others stand among the parameters."""


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
) -> FittedTable:
    """A table of trials, the first of which is the best.

    Args:
        trials: the trials as in `results.json`.
        metrics: name of each objective.
        shown: path of the sweep's folder to show; None leaves the folders out.
    """
    own = metrics[:MOST_VALUES]
    shorts = ["value"] if len(own) == 1 else [f"value {i}" for i in range(len(own))]
    columns = [
        Column("trial"),
        *(Column(name, short=short) for name, short in zip(own, shorts, strict=True)),
        Column("duration", drop=1, yields=True),
        *([Column("folder", drop=2, left=True, yields=True)] if shown is not None else []),
    ]
    rows = []
    for place, trial in enumerate(trials):
        given = trial["value"] if isinstance(trial["value"], list) else [trial["value"]]
        values = dict(zip(metrics, map(number, given), strict=True))
        took = trial["duration_s"]
        cells = [
            str(trial["number"]),
            *(values.pop(name) for name in own),
            "" if took is None else brief(took),
            *([redacted_text(str(shown / Path(trial["dir"]).name))] if shown is not None else []),
        ]
        style = "bold green" if place == 0 and len(metrics) == 1 else ""
        rows.append(Row(cells, values | param_texts(trial["params"]), style))
    return FittedTable(columns, rows)


def counts_line(trials: Sequence[Mapping[str, Any]]) -> str:
    """The number of trials in each state."""
    states = [trial["state"] for trial in trials]
    counts = ", ".join(f"{states.count(s)} {s.lower()}" for s in dict.fromkeys(states))
    return f"{len(states)} trials: {counts}"


def pruned_line(trials: Sequence[Mapping[str, Any]]) -> str | None:
    """The steps that pruning saved, compared with the longest trial; None if it saved none."""
    trials = [trial for trial in trials if "steps" in trial]  # those of a grid have none
    longest = max((t["steps"] for t in trials if t["state"] == "COMPLETE"), default=0)
    pruned = [trial["steps"] for trial in trials if trial["state"] == "PRUNED"]
    saved = sum(max(0, longest - steps) for steps in pruned)
    if not saved:
        return None
    whole = saved + sum(trial["steps"] for trial in trials)
    word = "trial" if len(pruned) == 1 else "trials"
    return f"{len(pruned)} pruned {word} saved about {saved} of {whole} steps ({saved / whole:.0%})"


def infeasible_line(trials: Sequence[Mapping[str, Any]]) -> str | None:
    """How many completed trials violate the constraints; None if there are no constraints."""
    told = [trial["feasible"] for trial in trials if "feasible" in trial]
    if not told:
        return None
    return f"{told.count(False)} of {len(told)} completed trials violate the constraints"


def best_line(best: Mapping[str, Any]) -> str:
    """The best trial, as it is in `results.json`, on a line."""
    values = params_text(best["params"])
    return f"best: trial {best['number']} with {best['value']:.6g}: {values}"


def confirmation_lines(told: Mapping[str, Any] | None) -> list[str]:
    """What fresh seeds say of the best trials.

    Args:
        told: `confirmation` of `results.json`; None if nothing was confirmed.
    """
    if not told:
        return []
    candidates, level = told["candidates"], f"{told['level']:.0%}"
    tied = [str(each["number"]) for each in candidates if each["tied"]]
    first = (
        f"confirmed: trial {told['winner']} is better than the others ({level} confidence)"
        if told["winner"] is not None
        else f"no winner: trials {', '.join(tied)} cannot be told apart ({level} confidence)"
    )
    return [first, *(_standing_line(each, level) for each in candidates)]


def _standing_line(each: Mapping[str, Any], level: str) -> str:
    seeds = f"{each['trainings']} fresh seed{'s' if each['trainings'] > 1 else ''}"
    line = f"  trial {each['number']}: {number(each['mean'])} on average of {seeds}"
    if each["low"] is None:
        return line
    within = f"{number(each['low'])} to {number(each['high'])}"
    return f"{line}, the next training within {within} ({level})"


def tell_grid(folder: Path, shown: Path, jobs: Iterable[Path]) -> None:
    """Print the best jobs of a grid of explr's own trainings.

    Args:
        folder: folder of the grid.
        shown: its path to show.
        jobs: folders of its jobs.

    Raises:
        FileError: a file of a job is damaged.
    """
    grid = own_grid(folder, jobs)
    if grid is None or not grid.ranked:
        return
    rows = best_trials([*grid.rows.values()], grid.directions)
    flat = all(Path(trial["dir"]).parent == folder for trial in rows)
    tell(table_of(rows, grid.metrics, shown if flat else None), [best_line(rows[0])])


def tell(table: FittedTable, lines: Sequence[str]) -> None:
    """Print a table and lines below it."""
    show(table)
    for line in lines:
        print(hanging(redacted_text(line)))
