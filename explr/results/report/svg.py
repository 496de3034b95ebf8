"""Draws plots in SVG: axes and marks. All names given by users are escaped here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from explr.results.text import number

Point = tuple[Any, Any]

LONGEST = 24
"""Maximum length of a label; the tooltip has the full text."""

MARGIN = 0.02
"""Fraction of an axis that stays free at each end."""

LARGEST = 1e300
"""Values are drawn up to here, so that differences of two are finite."""

WIDEST = 1e200
"""Ratio of the largest to the smallest value up to which an axis can be logarithmic."""

APART = 1e-12
"""Differences that are smaller in relation to the values are not seen."""

STYLE = """
svg{max-width:100%;height:auto}
.label{font:11px system-ui,sans-serif;fill:#374151;paint-order:stroke;stroke:#fff;stroke-width:3px}
.title{font:12px system-ui,sans-serif;fill:#111827}
.grid{stroke:#e5e7eb}.axis{stroke:#6b7280}.bar{stroke:#fff;stroke-width:.5}
.trial{stroke-opacity:.75;stroke-width:1.3}circle{stroke:#fff;stroke-width:.6}
"""
"""CSS of the drawings."""

_RAMP = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
"""The colours of viridis, from the worst to the best."""


def ramp(part: float) -> str:
    """A colour for a value between 0 and 1."""
    at = min(max(part, 0.0), 1.0) * (len(_RAMP) - 1)
    below = min(int(at), len(_RAMP) - 2)
    share = at - below
    pairs = zip(_RAMP[below], _RAMP[below + 1], strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def can_be_drawn(value: float) -> bool:
    """Whether a value has a place on an axis: infinities, NaN and absurd numbers have none."""
    return abs(value) <= LARGEST


def short(text: str) -> str:
    """A text shortened to `LONGEST` characters."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


@dataclass(frozen=True)
class Axis:
    """Maps the values of one quantity to the part of an axis from 0 to 1.

    Args:
        title: what it is.
        low: the smallest value.
        high: the largest value.
        log: it is logarithmic.
        choices: what it may be, for one that is no number.
    """

    title: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    choices: tuple[str, ...] = ()

    @classmethod
    def of(cls, title: str, values: Iterable[float], log: bool = False) -> Axis:
        """An axis with room for all of some numbers."""
        drawn = [value for value in values if can_be_drawn(value)] or [0.0]
        low, high = min(drawn), max(drawn)
        log = log and low > 1 / LARGEST and high / low < WIDEST
        size = max(abs(low), abs(high))
        if high - low <= APART * size:  # as good as equal
            room = max(0.5, size / 1000)
            low, high = (low / 2, high * 2) if log else (low - room, high + room)
        if log:
            around = (high / low) ** MARGIN
            return cls(title, low / around, high * around, log)
        return cls(title, low - MARGIN * (high - low), high + MARGIN * (high - low))

    def at(self, value: Any) -> float:
        """Position of a value, from 0 to 1."""
        if self.choices:
            return (self.choices.index(value) + 0.5) / len(self.choices)
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return float((value - self.low) / (self.high - self.low))

    def ticks(self, most: int = 6) -> list[tuple[float, str]]:
        """Positions and texts of the labels."""
        if self.choices:
            return [(self.at(choice), choice) for choice in self.choices]
        if self.log and self.high / self.low >= 10:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            each = max(1, math.ceil((last - first + 1) / most))
            return [(self.at(10.0**e), number(10.0**e)) for e in range(first, last + 1, each)]
        span = (self.high - self.low) / most
        size = 10 ** math.floor(math.log10(span))
        step = next(size * m for m in (1, 2, 5, 10) if size * m >= span)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return [(self.at(i * step), number(i * step)) for i in range(first, last + 1)]


@dataclass
class Plot:
    """Two axes and the marks between them.

    Args:
        x: the horizontal axis.
        y: the vertical axis.
        width: in pixels.
        height: in pixels.
        left: pixels for the labels of the vertical axis.
    """

    x: Axis
    y: Axis
    width: int = 860
    height: int = 320
    left: int = 84
    _marks: list[str] = field(default_factory=list)

    top, right, bottom = 10, 14, 44

    def place(self, point: Point) -> tuple[float, float]:
        """Position of a point in pixels from the upper left."""
        across = self.width - self.left - self.right
        down = self.height - self.top - self.bottom
        return (
            round(self.left + across * self.x.at(point[0]), 1),
            round(self.top + down * (1 - self.y.at(point[1])), 1),
        )

    def dot(self, point: Point, colour: str, about: str = "", radius: float = 4) -> None:
        """Draw a point with a tooltip."""
        x, y = self.place(point)
        self._marks.append(
            f'<circle cx="{x}" cy="{y}" r="{radius}" fill="{colour}">{_title(about)}</circle>'
        )

    def line(
        self, points: Sequence[Point], colour: str, about: str = "", width: float = 1.5
    ) -> None:
        """A line through points."""
        path = " ".join(f"{x},{y}" for x, y in map(self.place, points))
        self._marks.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}">'
            f"{_title(about)}</polyline>"
        )

    def bar(self, ends: Point, choice: str, colour: str, about: str = "") -> None:
        """A bar along the horizontal axis, at one choice of the vertical one."""
        (left, middle), (right, _) = (self.place((end, choice)) for end in ends)
        tall = 0.7 * (self.height - self.top - self.bottom) / len(self.y.choices)
        self._marks.append(
            f'<rect x="{left}" y="{middle - tall / 2:.1f}" width="{max(right - left, 1):.1f}" '
            f'height="{tall:.1f}" fill="{colour}" class="bar">{_title(about)}</rect>'
        )

    def under(self, mark: str) -> None:
        """Put a mark, in pixels, below the existing ones."""
        self._marks.insert(0, mark)

    def render(self) -> str:
        """The plot as an element of HTML."""
        low, high = self.top, self.height - self.bottom
        parts: list[str] = []
        for part, label in self.x.ticks(max(2, self.width // 120)):
            x = round(self.left + (self.width - self.left - self.right) * part, 1)
            parts.append(f'<path d="M{x} {low}V{high}" class="grid"/>')
            parts.append(_label(x, high + 16, label, "middle"))
        for part, label in self.y.ticks():
            y = round(high - (high - low) * part, 1)
            parts.append(f'<path d="M{self.left} {y}H{self.width - self.right}" class="grid"/>')
            parts.append(_label(self.left - 6, y + 4, label, "end"))
        middle = (self.left + self.width - self.right) / 2
        parts.append(_label(middle, self.height - 8, self.x.title, "middle", "title"))
        if self.y.title:
            turned = f'transform="rotate(-90 12 {(low + high) / 2})"'
            parts.append(_label(12, (low + high) / 2, self.y.title, "middle", "title", turned))
        return svg(self.width, self.height, [*parts, *self._marks])


def svg(width: int, height: int, parts: Iterable[str]) -> str:
    """A drawing as an element of HTML."""
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">'
        f"{''.join(parts)}</svg>"
    )


def _title(about: str) -> str:
    return f"<title>{escape(about)}</title>" if about else ""


def _label(x: float, y: float, text: str, anchor: str, kind: str = "label", more: str = "") -> str:
    return (
        f'<text x="{x}" y="{y}" text-anchor="{anchor}" class="{kind}" {more}>'
        f"{escape(short(text))}{_title(text)}</text>"
    )


def label(x: float, y: float, text: str, anchor: str = "middle") -> str:
    """A text in a drawing."""
    return _label(x, y, text, anchor)
