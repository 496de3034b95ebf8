"""Keeps the curve of a running training, few values of very many."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")

MOST_VALUES = 256
"""Values that are kept; of more, every second one, every fourth one, and so on."""


class Curve(Generic[T]):
    """What a job has over its steps, few of very many.

    Args:
        most: the most that are kept, an even number.
    """

    def __init__(self, most: int = MOST_VALUES) -> None:
        self.values: list[T] = []
        self._most, self._every, self._count = most, 1, 0

    def add(self, value: T) -> None:
        """Add what the next step has."""
        if self._count % self._every == 0:
            if len(self.values) == self._most:
                self.values = self.values[::2]
                self._every *= 2
            self.values.append(value)
        self._count += 1
