"""The curves of a running training or sweep, drawn for a notebook."""

from __future__ import annotations

import math
import threading
from collections.abc import Hashable, Iterable, Sequence
from html import escape

from explr.results.live.curve import Curve
from explr.results.text import number, spans_decades

MOST_POINTS = 128
"""The most points of a curve."""

MOST_CURVES = 100
"""Curves that are drawn: the latest ones and the best one."""

WIDTH, HEIGHT, LEFT, FOOT = 640, 180, 70, 18
"""Size of the drawing in pixels, and the room for the numbers beside and below it."""

Point = tuple[float, float]


class Curves:
    """The objective over the steps, a curve for each training; or, without reports, over trials.

    Methods may be called from several threads.

    Args:
        metric: name of the objective.
        minimize: whether smaller values are better.
    """

    def __init__(self, metric: str, minimize: bool) -> None:
        self._metric, self._minimize = metric, minimize
        self._lock = threading.Lock()
        self._curves: dict[Hashable, Curve[Point]] = {}
        self._values: list[Point] = []

    def reported(self, key: Hashable, step: int, value: float) -> None:
        """Record a report of a training."""
        with self._lock:
            if key not in self._curves:
                self._curves[key] = Curve(MOST_POINTS)
            self._curves[key].add((step, value))

    def ended(self, trial: int, value: float) -> None:
        """Record the value of a trial that completed."""
        with self._lock:
            self._values.append((trial, value))

    def svg(self) -> str:
        """The drawing; "" as long as there is nothing to draw."""
        with self._lock:
            curves = [few for c in self._curves.values() if len(few := _finite(c.values)) > 1]
            values = _finite(self._values)
        if curves:
            best = (min if self._minimize else max)(curves, key=lambda curve: curve[-1][1])
            lines = [*(c for c in curves[-MOST_CURVES:] if c is not best), best]
            return _drawing(lines, (), f"{self._metric} by step")
        if len(values) > 1:
            return _drawing([self._best_so_far(values)], values, f"{self._metric} by trial")
        return ""

    def _best_so_far(self, values: Sequence[Point]) -> list[Point]:
        steps: list[Point] = []
        for at, value in sorted(values):
            best = steps[-1][1] if steps else value
            better = min(value, best) if self._minimize else max(value, best)
            steps += [(at, best), (at, better)]
        return steps


def _finite(points: Iterable[Point]) -> list[Point]:
    return [point for point in points if math.isfinite(point[1])]


def _drawing(lines: Sequence[Sequence[Point]], dots: Sequence[Point], title: str) -> str:
    """Draw lines, the last of which stands out, and dots."""
    every = [point for line in (*lines, dots) for point in line]
    left, right = min(x for x, _ in every), max(x for x, _ in every)
    low, high = min(y for _, y in every), max(y for _, y in every)
    by_decades = spans_decades([low, high])
    height = math.log10 if by_decades else float
    wide, tall = (right - left) or 1.0, (height(high) - height(low)) or 1.0

    def place(point: Point) -> tuple[float, float]:
        x = LEFT + (point[0] - left) / wide * (WIDTH - LEFT - 4)
        return x, 4 + (height(high) - height(point[1])) / tall * (HEIGHT - FOOT - 8)

    parts = [
        f'<polyline points="{" ".join("{:.1f},{:.1f}".format(*place(p)) for p in line)}" '
        + ('stroke="#2a9d4a" stroke-width="2"/>' if line is lines[-1] else 'opacity="0.3"/>')
        for line in lines
    ]
    parts += [
        '<circle cx="{:.1f}" cy="{:.1f}" r="2.5" opacity="0.5"/>'.format(*place(dot))
        for dot in dots
    ]
    base, middle = HEIGHT - FOOT, (LEFT + WIDTH) // 2
    words = [
        (LEFT - 6, 12, "end", number(high)),
        (LEFT - 6, base - 2, "end", number(low)),
        (LEFT, HEIGHT - 4, "start", f"{left:g}"),
        (WIDTH - 4, HEIGHT - 4, "end", f"{right:g}"),
        (middle, HEIGHT - 4, "middle", title + (", logarithmic" if by_decades else "")),
    ]
    parts += [
        f'<text x="{x}" y="{y}" text-anchor="{anchor}" stroke="none" fill="currentColor">'
        f"{escape(text)}</text>"
        for x, y, anchor, text in words
    ]
    axes = f'<path d="M{LEFT} 0V{base}H{WIDTH}" opacity="0.5"/>'
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" style="max-width:100%" role="img" '
        f'aria-label="{escape(title)}" font-size="12" font-family="sans-serif" fill="none" '
        f'stroke="currentColor">{axes}{"".join(parts)}</svg>'
    )
