"""Which metrics were recorded at which steps, in little memory: steps are mostly regular."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable

Piece = int | list[int]
"""One step, or the first and last of several and their distance."""

SHORTEST = 4
"""The fewest steps at equal distances that are not kept one by one."""


def pieces_of(steps: Collection[int]) -> list[Piece]:
    """Write steps as ranges with equal distances, and the others one by one.

    Args:
        steps: steps in any order; each may be there several times.
    """
    ordered = sorted(set(steps))
    count = len(ordered)
    pieces: list[Piece] = []
    begin = 0
    while begin < count:
        end = begin + 1
        distance = ordered[end] - ordered[begin] if end < count else 0
        while end < count and ordered[end] - ordered[end - 1] == distance:
            end += 1
        if end - begin >= SHORTEST:
            pieces.append([ordered[begin], ordered[end - 1], distance])
            begin = end
        else:
            pieces.append(ordered[begin])
            begin += 1
    return pieces


class RecordedSteps:
    """The steps at which metrics were recorded: `("loss", 3) in recorded`."""

    def __init__(self) -> None:
        self._metrics: dict[str, _Steps] = {}

    def __bool__(self) -> bool:
        return bool(self._metrics)

    def __contains__(self, row: tuple[str, int]) -> bool:
        metric = self._metrics.get(row[0])
        return metric is not None and row[1] in metric

    @property
    def last(self) -> int:
        """The largest step of all metrics, 0 if there is none."""
        return max((metric.last for metric in self._metrics.values()), default=0)

    def add(self, name: str, pieces: Iterable[Piece]) -> None:
        """Add steps of a metric, as `pieces_of` writes them."""
        metric = self._metrics.setdefault(name, _Steps())
        for piece in pieces:
            metric.add(*([piece, piece, 0] if isinstance(piece, int) else piece))


class _Steps:
    """The steps of one metric: disjoint ranges by distance and remainder, and single steps."""

    def __init__(self) -> None:
        self._ranges: dict[tuple[int, int], tuple[list[int], list[int]]] = {}
        self._single: set[int] = set()
        self.last = 0

    def __contains__(self, step: int) -> bool:
        for (distance, remainder), (firsts, lasts) in self._ranges.items():
            if step % distance == remainder:
                at = bisect_right(firsts, step) - 1
                if at >= 0 and step <= lasts[at]:
                    return True
        return step in self._single

    def add(self, first: int, last: int, distance: int) -> None:
        """Add a range, or a single step if the distance is 0."""
        self.last = max(self.last, last)
        if not distance:
            self._single.add(first)
            return
        firsts, lasts = self._ranges.setdefault((distance, first % distance), ([], []))
        at = bisect_left(firsts, first)
        if at and lasts[at - 1] + distance >= first:  # it continues, or overlaps, the one before
            at -= 1
            lasts[at] = max(lasts[at], last)
        else:
            firsts.insert(at, first)
            lasts.insert(at, last)
        while at + 1 < len(firsts) and firsts[at + 1] <= lasts[at] + distance:
            del firsts[at + 1]
            lasts[at] = max(lasts[at], lasts.pop(at + 1))
