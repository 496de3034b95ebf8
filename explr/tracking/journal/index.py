"""The index of a journal: which metrics have a row at which step, so that nobody reads all rows.

Each line of the file beside the journal says this of a part of the journal, in the journal's own
spelling. Whoever appends to a journal adds a line when about a megabyte lacks one. A line depends
only on the bytes of its part, whoever has written them, so it does not matter which process writes
it, or whether two do.

Where the index ends, or has a gap, the journal is read instead.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from explr.tracking.journal.lines import line_of, read_events
from explr.tracking.journal.steps import Piece, RecordedSteps, pieces_of

PART_BYTES = 2**20
"""Bytes of a journal that a line of the index is about."""

Row = tuple[Any, ...]
"""A step, followed by the names of the metrics that have a row there."""

Rows = list[Row]


class Appended:
    """What a process has appended to a journal since it had a length.

    A writer takes this object before it appends, and adds to it afterwards, so all that it counts
    lies beyond `begin`, in every thread. Were some bytes there not counted, because another
    process or thread wrote them, then `bytes` would be less than the journal has grown.

    Args:
        begin: length of the journal, in bytes.
    """

    __slots__ = ("begin", "bytes", "rows")

    def __init__(self, begin: int) -> None:
        self.begin = begin
        self.bytes = 0
        self.rows: Rows = []

    def add(self, row: Row | None, written: int) -> tuple[int, int]:
        """Count a line that was appended.

        Args:
            row: its metrics, if it is about metrics with a step.
            written: its bytes.

        Returns:
            How many bytes and rows are counted.
        """
        if row is not None:
            self.rows.append(row)
        self.bytes += written
        return self.bytes, len(self.rows)


class Index:
    """The index of a journal, which may grow.

    Args:
        journal: path of the journal.
    """

    def __init__(self, journal: Path) -> None:
        self.covered = 0
        """Bytes of the journal up to which the index is known to tell all rows."""
        self._journal = journal
        self._path = journal.with_suffix(".index")
        self._read_to = 0
        self._beyond: list[tuple[int, int]] = []

    def read(
        self,
        add: Callable[[str, list[Piece]], None] = lambda name, pieces: None,
        size: int = sys.maxsize,
    ) -> None:
        """Read what is new in the index.

        Args:
            add: called with the name of a metric and steps of it.
            size: length of the journal; lines about what it does not have (any more) are ignored.
        """
        with suppress(FileNotFoundError):
            for event, end in read_events(self._path, self._read_to):
                self._read_to = end
                if event["to"] <= size:
                    for name, pieces in event["m"].items():
                        add(name, pieces)
                    self._cover(event["from"], event["to"])

    def extend(self, appended: Appended, counted: tuple[int, int], size: int) -> Appended:
        """Add a line about a part of the journal.

        Args:
            appended: what this process has appended.
            counted: its bytes and rows when the journal had not more than its `size`.
            size: length of the journal.

        Returns:
            What to go on with.
        """
        is_whole = appended.begin + counted[0] == size
        if not is_whole or appended.begin > self.covered:
            self.read()
        if is_whole and appended.begin <= self.covered:
            self._append(appended.begin, size, appended.rows[: counted[1]])
        elif size - self.covered > PART_BYTES:
            next(self.unread())
        return Appended(size)

    def unread(self) -> Iterator[dict[str, list[Piece]]]:
        """Read what the index lacks in parts of about `PART_BYTES`, and add a line for each.

        Yields:
            Steps by the name of the metric.
        """
        begin, rows = self.covered, Rows()
        for event, end in read_events(self._journal, begin):
            if event["k"] == "metrics" and event["s"] is not None:
                rows.append((event["s"], *event["m"]))
            # A line that ends with the run's end would hide it from who reads on there.
            if end - begin > PART_BYTES and event["k"] != "end":
                self._append(begin, end, rows)
                yield _pieces(rows)
                begin, rows = end, []
        yield _pieces(rows)

    def _append(self, begin: int, end: int, rows: Rows) -> None:
        event = {"k": "index", "from": begin, "to": end, "m": _pieces(rows)}
        with suppress(OSError):  # without it, the journal is read
            descriptor = os.open(
                self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
            try:
                os.write(descriptor, line_of(event))
            finally:
                os.close(descriptor)
        self._cover(begin, end)

    def _cover(self, begin: int, end: int) -> None:
        self._beyond = sorted([*self._beyond, (begin, end)])
        while self._beyond and self._beyond[0][0] <= self.covered:
            self.covered = max(self.covered, self._beyond.pop(0)[1])


def recorded_steps(journals: Iterable[Path]) -> RecordedSteps:
    """Steps of the metrics in journals; metrics without a step are left out.

    Args:
        journals: paths of journals that nobody writes any more.
    """
    found = RecordedSteps()
    for journal in journals:
        index = Index(journal)
        index.read(found.add, journal.stat().st_size)
        for part in index.unread():
            for name, pieces in part.items():
                found.add(name, pieces)
    return found


def _pieces(rows: Rows) -> dict[str, list[Piece]]:
    steps: dict[str, list[int]] = {}
    for step, *names in rows:
        for name in names:
            steps.setdefault(name, []).append(step)
    return {name: pieces_of(found) for name, found in steps.items()}
