"""Keeps the curve of a running training, few values of very many."""

from __future__ import annotations

MOST_VALUES = 256
"""Values that are kept; of more, every second one, every fourth one, and so on."""


class Curve:
    """The values of a job over its steps, few of very many."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self._every, self._count = 1, 0

    def add(self, value: float) -> None:
        """Add the value of the next step."""
        if self._count % self._every == 0:
            if len(self.values) == MOST_VALUES:
                self.values = self.values[::2]
                self._every *= 2
            self.values.append(value)
        self._count += 1
