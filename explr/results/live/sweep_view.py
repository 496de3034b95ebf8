"""Draws the live view of a sweep with rich."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from explr.results.text import duration, number, params_text

if TYPE_CHECKING:
    from explr.results.live.sweep import Running, SweepProgress


SHOWN = 12
"""Maximum number of running trials that are drawn."""

STATES = {
    "COMPLETE": ("complete", "green"),
    "PRUNED": ("pruned", "yellow"),
    "FAIL": ("failed", "red"),
}
"""Word and colour of each counted state."""


def picture(sweep: SweepProgress) -> RenderableType:
    """The current drawing of a sweep."""
    running = sweep.running()
    return Group(*_head(sweep, len(running)), *_best_lines(sweep), *_table(sweep, running))


def _head(sweep: SweepProgress, running: int) -> Iterator[RenderableType]:
    ended = sweep.ended_trials
    line = Table.grid(padding=(0, 2))
    cells: list[RenderableType] = []
    if sweep.n_trials != math.inf:
        line.add_column(width=24)
        cells.append(ProgressBar(total=sweep.n_trials, completed=ended))
    line.add_column(no_wrap=True)
    timing = _timing(ended, sweep.n_trials, sweep.elapsed_s(), sweep.left_s())
    told = Text.assemble(timing, "  ", (sweep.name, "dim"), no_wrap=True, overflow="ellipsis")
    line.add_row(*cells, told)
    yield line
    parts: list[Any] = []
    for state, (word, colour) in STATES.items():
        count = sweep.counts[state]
        parts += [(f"{count} {word}", colour if count else "dim"), "  "]
    slots = sweep.slots()
    of = f" on {slots} worker{'s' if slots > 1 else ''}" if slots else ""
    parts.append(f"{running} running{of}")
    for text in sweep.gpu.read() if sweep.gpu else ():
        parts += ["  ", (text, "cyan")]
    yield Text.assemble(*parts)


def _best_lines(sweep: SweepProgress) -> Iterator[RenderableType]:
    for metric, best in zip(sweep.metrics, sweep.best, strict=True):
        if best is not None:
            yield Text.assemble(
                (f"best {metric} {number(best.value)}", "bold green"),
                f"  trial {best.trial}  ",
                (params_text(best.params), "dim"),
            )


def _table(sweep: SweepProgress, running: list[Running]) -> Iterator[RenderableType]:
    if not running:
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("trial", "step", sweep.metrics[0], "time"):
        table.add_column(Text(title), justify="right", no_wrap=True)
    table.add_column("parameters", ratio=1, no_wrap=True, overflow="ellipsis")
    now = sweep.clock()
    for one in running[:SHOWN]:
        table.add_row(
            one.job.name,
            "" if one.step is None else str(one.step),
            "" if one.value is None else number(one.value),
            duration(now - one.since),
            Text(params_text(one.job.params)),
        )
    yield table
    if len(running) > SHOWN:
        yield Text(f"and {len(running) - SHOWN} more", style="dim")


def _timing(ended: int, n_trials: float, elapsed_s: float, left_s: float | None) -> str:
    of = f"/{n_trials:.0f}" if n_trials != math.inf else ""
    left = "" if left_s is None else f", about {duration(left_s)} left"
    return f"{ended}{of} trials  {duration(elapsed_s)}{left}"
