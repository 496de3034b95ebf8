"""Draws the live view of a sweep with rich."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import ConsoleOptions, RenderableType
from rich.progress_bar import ProgressBar
from rich.text import Text

from explr.core.errors import BY_TUNER
from explr.results.table import GAP, Column, FittedTable, Row, flow
from explr.results.text import duration, number, param_texts, sparkline

if TYPE_CHECKING:
    from explr.results.live.sweep import Pruned, Running, SweepProgress


SHOWN = 12
"""Maximum number of running trials that are drawn."""

TALL = 30
"""Lines of a terminal from which several pruned trials are drawn, with their parameters."""

STATES = {
    "COMPLETE": ("complete", "green"),
    "PRUNED": ("pruned", "yellow"),
    "FAIL": ("failed", "red"),
}
"""Word and colour of each counted state."""


def picture(sweep: SweepProgress, options: ConsoleOptions, height: int) -> Iterator[RenderableType]:
    """Draw a sweep as it is now.

    Args:
        sweep: the sweep.
        options: the width, and whether there are characters for curves.
        height: lines of the terminal.
    """
    running, width = sweep.running(), options.max_width
    texts = [*_counts(sweep, len(running), width), *_best_lines(sweep, width)]
    is_tall = height >= TALL
    for pruned in list(reversed(sweep.pruned))[: None if is_tall else 1]:
        texts += _pruned_lines(pruned, sweep.metrics[0], width, is_tall)
    yield _head(sweep, width)
    for text in texts:
        text.overflow = "fold"
        yield text
    yield _table(sweep, running, options, height - len(texts) - 3)


def _head(sweep: SweepProgress, width: int) -> RenderableType:
    ended, left_s = sweep.ended_trials, sweep.left_s()
    known = sweep.n_trials != math.inf
    left = "" if left_s is None else f", about {duration(left_s)} left"
    trials = f"{ended}/{sweep.n_trials:.0f} trials" if known else f"{ended} trials"
    columns = [Column(""), Column("", drop=1), Column("", drop=3, left=True)]
    cells: list[Any] = [trials, duration(sweep.elapsed_s()) + left, Text(sweep.name, "dim")]
    if known:
        columns.insert(0, Column("", drop=2))
        bar = ProgressBar(total=sweep.n_trials, completed=ended, width=min(24, width // 5))
        cells.insert(0, bar)
    return FittedTable(columns, [Row(cells)], has_head=False)


def _counts(sweep: SweepProgress, running: int, width: int) -> Iterator[Text]:
    parts = []
    for state, (word, colour) in STATES.items():
        count = sweep.counts[state]
        parts.append(Text(f"{count} {word}", colour if count else "dim"))
    slots = sweep.slots()
    of = f" on {slots} worker{'s' if slots > 1 else ''}" if slots else ""
    parts.append(Text(f"{running} running{of}"))
    parts += [Text(text, "cyan") for text in (sweep.gpu.read() if sweep.gpu else ())]
    yield from flow(parts, width)


def _best_lines(sweep: SweepProgress, width: int) -> Iterator[Text]:
    for metric, best in zip(sweep.metrics, sweep.best, strict=True):
        if best is not None:
            said = Text(f"best {metric} {number(best.value)}", "bold green")
            of = [said, Text(f"trial {best.trial}"), *_params(best.params)]
            yield from flow(of, width, indent=GAP)


def _pruned_lines(pruned: Pruned, metric: str, width: int, with_params: bool) -> Iterator[Text]:
    reason = " ".join(pruned.reason.split())
    why = BY_TUNER if reason.startswith(f"{BY_TUNER},") else reason
    parts = [Text(f"pruned trial {pruned.job.name} {why}", "yellow")]
    if pruned.value is not None:
        parts.append(Text(f"{metric} {number(pruned.value)} at step {pruned.step}"))
        if pruned.best is not None and pruned.best != pruned.value:
            parts.append(Text(f"best at that step {number(pruned.best)}"))
    if with_params:
        parts += _params(pruned.job.params)
    yield from flow(parts, width, indent=GAP)


def _params(params: Mapping[str, Any]) -> Iterable[Text]:
    return (Text(f"{name}={value}", "dim") for name, value in param_texts(params).items())


def _table(
    sweep: SweepProgress, running: list[Running], options: ConsoleOptions, lines: int
) -> RenderableType:
    columns = [
        Column("trial"),
        Column("step", drop=1),
        Column(sweep.metrics[0], short="value"),
        *([] if options.ascii_only else [Column("curve", drop=2, left=True, yields=True)]),
        Column("time", drop=3, yields=True),
    ]
    now = sweep.clock()
    rows = []
    for one in running[:SHOWN]:
        cells = [
            one.job.name,
            "" if one.step is None else str(one.step),
            "" if one.value is None else number(one.value),
            *([] if options.ascii_only else [sparkline(one.curve.values)]),
            duration(now - one.since),
        ]
        rows.append(Row(cells, param_texts(one.job.params)))
    return FittedTable(columns, rows, most_lines=max(4, lines), more=max(0, len(running) - SHOWN))
