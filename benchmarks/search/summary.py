"""What the rows of many searches say: medians, and paired tests with their correction."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from lcbench import EPOCHS

BUDGETS = (5, 10, 20)
"""Whole trainings after which searches are compared."""


def regret(row: Any, trainings: float) -> float:
    """The regret of a search after some trainings.

    With one worker these are epochs; with several the time that the workers need for them.
    """
    best = float("inf")
    for epochs, time, found in row.steps:
        late = epochs > trainings * EPOCHS if row.workers == 1 else time > trainings / row.workers
        if late:
            break
        best = found
    return best


def table(rows: Sequence[Any], budgets: Sequence[float] = BUDGETS) -> str:
    """The median regret of each search as text."""
    lines = []
    for workers in dict.fromkeys(row.workers for row in rows):
        ours = [row for row in rows if row.workers == workers]
        lines.append(f"{workers} worker{'s' * (workers > 1)}: regret after {budgets} trainings")
        for method in dict.fromkeys(row.method for row in ours):
            of = [row for row in ours if row.method == method]
            found = "  ".join(f"{median(regret(row, each) for row in of):.3f}" for each in budgets)
            took = median(row.took_s for row in of)
            lines.append(f"  {found}  {took:5.1f} s a search  {method}")
    return "\n".join(lines)
