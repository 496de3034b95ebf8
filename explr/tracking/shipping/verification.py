"""Compares what the journals of a run hold with what a sink holds, by count."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from explr.core.errors import shortened
from explr.core.secrets.shapes import without_user_info
from explr.tracking.journal.journal import first_event
from explr.tracking.journal.lines import read_events
from explr.tracking.journal.pending import Entry, enter
from explr.tracking.journal.position import Position, read_position, write_position
from explr.tracking.shipping.observer import observed_file
from explr.tracking.shipping.sink import Contents, dataset_name
from explr.tracking.tree import files_below

WINDOW = 4096
"""Events that are remembered to find equal rows. Equal rows have the same time, and a journal is
nearly in the order of time."""

LONGEST_LACK = 150
NAMED = 4
"""Characters of what a sentence says is missing, and how many names it has of each kind."""


class Tally:
    """Counts what events put into a sink. A sink takes equal rows for one."""

    def __init__(self) -> None:
        self.rows: Counter[str] = Counter()
        self.params: set[str] = set()
        self.artifacts: set[tuple[str, str]] = set()
        self.inputs: set[str] = set()
        self.models: set[str] = set()
        self.last: set[str] = set()
        self._recent: OrderedDict[tuple[int, int], list[Mapping[str, float]]] = OrderedDict()

    def add(self, event: Mapping[str, Any]) -> None:
        """Count an event."""
        kind = event["k"]
        if kind == "metrics":
            self._add_rows((event["t"], event["s"] or 0), event["m"])
        elif kind == "params":
            self.params.update(event["p"])
        elif kind == "artifact":
            self.artifacts.add((event["f"], event["d"]))
        elif kind == "input":
            self.inputs.add(dataset_name(event["d"]["name"], event["d"]["digest"]))
        elif kind == "model":
            self.models.add(event["f"])
        elif kind == "start":
            self.last.update(event.get("last", ()))

    def add_all(self, journal: Path, position: Position) -> None:
        """Count the events of a journal, and of its observations, that were uploaded.

        Args:
            journal: the journal.
            position: how far it was uploaded.
        """
        notes = observed_file(journal)
        for file, end in ((journal, position.offset), (notes, position.observed)):
            for event, after in read_events(file) if end else ():
                if after > end:
                    break
                self.add(event)

    def wanted(self, folder: Path, set_aside: AbstractSet[str]) -> Contents:
        """What the run should hold.

        Args:
            folder: folder of the run.
            set_aside: names of artifacts that the sink will not have.
        """
        # Those that are uploaded at the end need not be there.
        last = {(name, "") for name in self.last if (folder / name).exists()}
        paths = {(folder / name, place) for name, place in self.artifacts | last}
        found = {name for path, place in paths for name in artifact_paths(path, place)}
        models = frozenset(Path(name).name for name in self.models - set_aside)
        return Contents(
            dict(self.rows),
            frozenset(self.params),
            found - set_aside,
            inputs=frozenset(self.inputs),
            models=models,
        )

    def _add_rows(self, at: tuple[int, int], rows: Mapping[str, float]) -> None:
        """Count the rows of one time and step."""
        recent = self._recent.get(at)
        if recent is None:
            self.rows.update(rows.keys())
            self._recent[at] = [rows]
            if len(self._recent) > WINDOW:
                self._recent.popitem(last=False)
            return
        for name, value in rows.items():
            if not any(name in other and _equal(other[name], value) for other in recent):
                self.rows[name] += 1
        recent.append(rows)


def _equal(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


def artifact_paths(path: Path, folder: str) -> Iterator[str]:
    """Paths of files among a run's artifacts.

    Args:
        path: the uploaded file or folder, which may be gone: then it counts as a file.
        folder: folder among the artifacts that it was uploaded to.
    """
    inner = f"{folder}/{path.name}" if folder else path.name
    if path.is_dir():
        yield from (f"{inner}/{name}" for name in files_below(path).files)
    else:
        yield inner


def lacking(wanted: Contents, held: Contents, refused: Mapping[str, int]) -> str:
    """What a sink lacks of a run, as a part of a sentence; "" if it lacks nothing.

    Args:
        wanted: what the run should hold.
        held: what it holds.
        refused: rows by metric that the sink was known before to refuse.
    """
    short = [
        f"{count - held.rows.get(name, 0)} of {count} rows of {name}"
        for name, count in wanted.rows.items()
        if held.rows.get(name, 0) + max(held.refused.get(name, 0), refused.get(name, 0)) < count
    ]
    parts = [
        _listing(short, "", ""),
        _listing(sorted(wanted.params - held.params), "the parameter ", "the parameters "),
        _listing(sorted(wanted.artifacts - held.artifacts), "the artifact ", "the artifacts "),
        _listing(sorted(wanted.inputs - held.inputs), "the data set ", "the data sets "),
        _listing(sorted(wanted.models - held.models), "the model ", "the models "),
    ]
    return shortened(" and ".join(filter(None, parts)), LONGEST_LACK)


def known_refusals(journals: Iterable[Path]) -> dict[str, int]:
    """Rows by metric that a sink refused when it got the journals of a run.

    Args:
        journals: journals of the run; what was found for a later attempt is true of all before.
    """
    refused: dict[str, int] = {}
    for journal in journals:
        refused |= read_position(journal).refused
    return refused


def _listing(names: list[str], one: str, several: str) -> str:
    if not names:
        return ""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{one if len(names) == 1 else several}{', '.join(names[:NAMED])}{more}"


def put_back(journal: Path, uri: str) -> None:
    """Have a journal uploaded again from its start, which adds what is missing.

    Args:
        journal: the journal.
        uri: tracking URI that it goes to.

    Raises:
        OSError, TrackingError: it cannot be written down.
    """
    start = first_event(journal) or {}
    write_position(journal, Position())
    writer = start["pid"], start["started"], start["host"]
    enter(Entry(str(journal), without_user_info(uri), *writer))
