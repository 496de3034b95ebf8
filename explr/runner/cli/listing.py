"""`explr list`: the sweeps and runs below the working directory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click

from explr.results.begun import runs_begun, sweeps_begun
from explr.results.listing import Listed, listed_below, listed_in, newest_first
from explr.results.table import columns
from explr.results.text import number

COLOURS = {"running": "cyan", "failed": "red", "interrupted": "yellow", "stopped": "yellow"}

UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
"""Units of an age, in seconds."""

HEAD = ("state", "trials", "best", "age", "folder")


def show_list(everywhere: bool) -> None:
    """Print the sweeps and runs, the newest first.

    Args:
        everywhere: list also those of other folders, as far as EXPLR_HOME knows them.
    """
    here = Path.cwd()
    found = listed_below(here)
    if everywhere:
        found = newest_first([*found, *listed_in([*sweeps_begun(), *runs_begun()])])
    if not found:
        other = "" if everywhere else "; `explr list --all` lists those of other folders"
        click.echo(f"no sweep and no run of explr's below {here}{other}", err=True)
        return
    for line in lines(found, here, time.time(), columns()):
        click.echo(line)


def lines(found: list[Listed], here: Path, now: float, width: int) -> list[str]:
    """The list as lines; without room for its folder, that of each stands on a line of its own.

    Args:
        found: sweeps and runs.
        here: the working directory, from which the folders below it are named.
        now: the time, in seconds since the epoch.
        width: columns of the terminal.
    """
    rows = [HEAD, *(_cells(one, here, now) for one in found)]
    widths = _widths(rows)
    if sum(widths[:-1]) + 2 * (len(HEAD) - 2) > width:
        rows = [HEAD, *(_cells(one, here, now, named=False) for one in found)]
        widths = _widths(rows)
    fits = sum(widths) + 2 * (len(HEAD) - 1) <= width
    shown = []
    for row, one in zip(rows, [None, *found], strict=True):
        state, trials, best, age, folder = row
        colour = COLOURS.get(one.state) if one else None
        left = click.style(state.ljust(widths[0]), fg=colour) if colour else state.ljust(widths[0])
        line = f"{left}  {trials.rjust(widths[1])}  {best.rjust(widths[2])}  {age.rjust(widths[3])}"
        if fits:
            shown.append(f"{line}  {folder}")
        elif one is None:
            shown.append(line)
        else:
            shown += [line, f"  {folder}"]
    return shown


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def _cells(
    one: Listed, here: Path, now: float, named: bool = True
) -> tuple[str, str, str, str, str]:
    folder = one.folder.relative_to(here) if one.folder.is_relative_to(here) else one.folder
    trials = "" if one.ended is None else str(one.ended)
    if one.total is not None:
        trials += f"/{one.total}"
    best = "" if one.value is None else number(one.value)
    if best and named:
        best = f"{one.metric} {best}"
    return one.state, trials, best, age(now - one.begun), str(folder)


def age(seconds: float) -> str:
    """An age in its largest unit: `3 min`."""
    unit, size = next(((u, s) for u, s in UNITS if seconds >= s), UNITS[-1])
    return f"{max(0, int(seconds)) // size} {unit}"
