"""Tables and lines that fit into a terminal of any width.

Nothing is cut inside a number or a name: columns are left out in order of their importance, and
parameters wrap under their trial. Outside a terminal there is room for everything.
"""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from typing import TYPE_CHECKING, Any

from explr.utils.console import is_terminal

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.table import Table
    from rich.text import Text

GAP = 2
"""Columns between two cells."""

WIDE = 100_000
"""Columns outside a terminal."""

BESIDE = 30
"""Columns from which parameters wrap beside their trial, and not below it."""

WORDS = re.compile(r"""(?:[^\s"']|"[^"]*"|'[^']*')+""")
"""The words of a command, with their quotes."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        title: its title.
        drop: the column with the largest is left out first where there is no room; 0 always stays.
        left: whether its cells begin at the left.
        short: a title in place of one that takes more than a quarter of the width; a line above
            the table then has the whole title.
        yields: whether it is left out so that each parameter can have a column.
    """

    title: str
    drop: int = 0
    left: bool = False
    short: str = ""
    yields: bool = False

    def shown(self, width: int) -> str:
        """The title that stands in a table of a width."""
        return self.short if self.short and len(self.title) > width // 4 else self.title


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Args:
        cells: a text, or another object that rich can draw, for each column.
        params: the text of each parameter.
        style: its style, in rich's words.
    """

    cells: Sequence[Any]
    params: Mapping[str, str] = field(default_factory=dict)
    style: str = ""


@dataclass(frozen=True)
class FittedTable:
    """A table as wide as its terminal allows.

    Each parameter has a column where there is room; else they stand beside or below their row.

    Args:
        columns: its columns.
        entries: its rows.
        has_head: whether it shows titles.
        most_lines: the most lines to draw; without room for parameters they are left out, and
            without room for all rows the others are counted. None draws all.
        more: number of further rows, which are only counted.
    """

    columns: Sequence[Column]
    entries: Sequence[Row]
    has_head: bool = True
    most_lines: int | None = None
    more: int = 0

    @property
    def params(self) -> list[str]:
        """Names of the parameters."""
        return list(dict.fromkeys(name for row in self.entries for name in row.params))

    @property
    def head(self) -> list[str]:
        """All titles, those of the parameters last."""
        return [*(column.title for column in self.columns), *self.params]

    @property
    def rows(self) -> list[list[str]]:
        """The texts of all cells."""
        return [
            [*map(str, row.cells), *(row.params.get(name, "") for name in self.params)]
            for row in self.entries
        ]

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        """Draw it in the width that there is."""
        from rich.padding import Padding
        from rich.text import Text

        if not self.entries:
            return
        layout = _Layout(self, console, options)
        grid, drawn = layout.grid(), 0
        if self.has_head:
            yield from (Text(note, "dim", overflow="fold") for note in layout.notes)
            grid.add_row(*map(Text, layout.titles), style="dim")
            drawn += len(layout.notes) + 1
        left = len(self.entries) + self.more
        for number, row in enumerate(self.entries):
            cells, below = layout.cells(number)
            lines = max(1, *(str(cell).count("\n") + 1 for cell in cells)) + len(below)
            if self.most_lines is not None and drawn + lines + (left > 1) > self.most_lines:
                break
            drawn, left = drawn + lines, left - 1
            grid.add_row(*cells, style=row.style)
            if below:
                text = Text("\n", row.style, overflow="fold").join(below)
                yield from (grid, Padding(text, (0, 0, 0, 2 * GAP), expand=False))
                grid = layout.grid()
        if grid.row_count:
            yield grid
        if left:
            yield Text(f"and {left} more", "dim")


class _Layout:
    """Which columns a table has in some width, and where its parameters stand."""

    def __init__(self, table: FittedTable, console: Console, options: ConsoleOptions) -> None:
        from rich.measure import Measurement
        from rich.text import Text

        columns, width = table.columns, options.max_width
        titles = [each.shown(width) for each in columns]
        self.notes = [
            f"{shown}: {each.title}"
            for each, shown in zip(columns, titles, strict=True)
            if shown != each.title
        ]
        self._cells = [
            [Text(cell) if isinstance(cell, str) else cell for cell in row.cells]
            for row in table.entries
        ]
        self._params = [
            {name: Text(value) for name, value in row.params.items()} for row in table.entries
        ]
        self._names = table.params

        def widest(title: str, cells: Iterable[Any]) -> int:
            least = Text(title).cell_len if table.has_head else 0
            return max(least, *(Measurement.get(console, options, cell).maximum for cell in cells))

        widths = list(map(widest, titles, zip(*self._cells, strict=True)))
        of_params = [
            widest(name, (row[name] for row in self._params if name in row)) for name in self._names
        ]
        choices = [
            [i for i, each in enumerate(columns) if each.drop <= drop]
            for drop in sorted({0, *(each.drop for each in columns)}, reverse=True)
        ]

        def free(kept: Sequence[int]) -> int:
            return width - sum(widths[i] + GAP for i in kept) + GAP

        with_params = (
            kept
            for kept in choices
            if all(each.yields for i, each in enumerate(columns) if i not in kept)
            and free(kept) >= sum(size + GAP for size in of_params)
        )
        fitting = (kept for kept in choices if free(kept) >= 0)
        found = next(with_params, None)
        self._kept = kept = next(fitting, choices[-1]) if found is None else found
        self._widths = [widths[i] for i in kept]
        if free(kept) < 0:  # not even those that always stay
            place = self._widths.index(max(self._widths))
            self._widths[place] = max(GAP, self._widths[place] + free(kept))
        self._lefts = [columns[i].left for i in kept]
        self.titles = [titles[i] for i in kept]
        self._room, self._whole_width = free(kept) - GAP, width
        self._place = "columns"
        if found is not None or not self._names:
            self._widths += of_params
            self._lefts += [False] * len(of_params)
            self.titles += self._names
            return
        pieces = [list(map(len, _pieces(row))) for row in self._params]
        whole = max(sum(size + GAP for size in each) - GAP for each in pieces)
        longest = max(size for each in pieces for size in each)
        self._place = "beside" if self._room >= min(whole, max(longest, BESIDE)) else "below"
        lines = [len(self.cells(number)[1]) + 1 for number in range(len(self._cells))]
        if self._place == "beside":
            lines = [len(flow(_pieces(row), self._room)) for row in self._params]
        most = table.most_lines
        if most is not None and sum(lines) + len(self.notes) + table.has_head > most:
            self._place = "nowhere"
        if self._place == "beside":
            self._widths.append(self._room)
            self._lefts.append(True)
            self.titles.append("parameters")

    def grid(self) -> Table:
        """A table without rows."""
        from rich.table import Table

        grid = Table.grid(padding=(0, GAP, 0, 0))
        for size, left in zip(self._widths, self._lefts, strict=True):
            grid.add_column(width=size, justify="left" if left else "right", overflow="fold")
        return grid

    def cells(self, number: int) -> tuple[list[Any], list[Text]]:
        """The cells of a row, and the lines of parameters below it."""
        from rich.text import Text

        cells, params = [self._cells[number][i] for i in self._kept], self._params[number]
        if self._place == "columns":
            return [*cells, *(params.get(name, Text()) for name in self._names)], []
        if self._place == "beside":
            return [*cells, Text("\n").join(flow(_pieces(params), self._room))], []
        if self._place == "nowhere":
            return cells, []
        return cells, flow(_pieces(params), self._whole_width - 2 * GAP)


def _pieces(params: Mapping[str, Text]) -> list[Text]:
    from rich.text import Text

    return [Text.assemble(f"{name}=", value) for name, value in params.items()]


@dataclass(frozen=True)
class SideBySide:
    """Things side by side, as many as there is room for; the others follow below.

    Args:
        titles: title of each thing.
        shorts: a short title for each.
        rows: for each property its name, and its text for each thing.
    """

    titles: Sequence[str]
    shorts: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        """Draw them in the width that there is."""
        from rich.cells import cell_len

        width = options.max_width
        heads = [
            Column(title, short=short)
            for title, short in zip(self.titles, self.shorts, strict=True)
        ]
        titles = [head.shown(width) for head in heads]
        first, *things = [
            max(map(cell_len, column)) for column in zip(("", *titles), *self.rows, strict=True)
        ]
        begin = 0
        while begin < len(things):
            end, used = begin + 1, first + GAP + things[begin]
            while end < len(things) and used + GAP + things[end] <= width:
                used += GAP + things[end]
                end += 1
            each = range(begin, end)
            if begin:
                yield ""
            yield FittedTable(
                [Column("", left=True), *heads[begin:end]],
                [Row([row[0], *(row[i + 1] for i in each)]) for row in self.rows],
            )
            begin = end


def flow(pieces: Iterable[Text], width: int, gap: int = GAP, indent: int = 0) -> list[Text]:
    """Put pieces into as few lines as possible; no piece is broken.

    Args:
        pieces: the pieces.
        width: columns of a line.
        gap: columns between two pieces.
        indent: columns in front of each line but the first.
    """
    from rich.text import Text

    lines: list[Text] = []
    for piece in pieces:
        if lines and lines[-1].cell_len + gap + piece.cell_len <= width:
            lines[-1] = Text(" " * gap).join([lines[-1], piece])
        else:
            lines.append(Text.assemble(" " * (indent if lines else 0), piece))
    return lines


def lines_of(view: Any, width: int = WIDE) -> list[str]:
    """What rich draws, as lines of text without colours.

    Args:
        view: any object that rich can draw.
        width: columns of a line.
    """
    from rich.console import Console

    console = Console(
        file=StringIO(),
        width=width,
        color_system=None,
        force_terminal=False,
        force_jupyter=False,
        highlight=False,
    )
    with console.capture() as captured:
        console.print(view)
    return [line.rstrip() for line in captured.get().splitlines()]


def show(*views: Any) -> None:
    """Print objects that rich can draw; outside a terminal as plain text."""
    from rich.console import Console

    if is_terminal(sys.stdout):
        Console(highlight=False).print(*views, sep="\n")
        return
    for view in views:
        for line in lines_of(view):
            print(line)


def columns() -> int:
    """Columns of the terminal; outside a terminal as many as a line takes."""
    return shutil.get_terminal_size((100, 24)).columns if is_terminal(sys.stdout) else WIDE


def hanging(text: str, indent: int = GAP) -> str:
    """A line, broken between its words where the terminal ends; commands stay whole.

    Args:
        text: the line; lines of several are broken one by one.
        indent: columns in front of what follows a break.
    """
    wrapper = textwrap.TextWrapper(
        columns(), subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(
        wrapper.fill(line) if len(line) > wrapper.width else line for line in text.split("\n")
    )


def continued(text: str) -> str:
    """A line with a command or Python code, broken between its words so that a copy of it runs."""
    from rich.text import Text

    if len(text) <= columns():
        return text
    lines = flow(map(Text, WORDS.findall(text)), columns() - GAP, gap=1, indent=GAP)
    return " \\\n".join(line.plain for line in lines)
