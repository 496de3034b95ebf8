"""Hyperparameters that note when a training reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Self


class Hyperparameters(dict[str, Any]):
    """A dict that tells of the first read of some of its values.

    Whoever goes through it reads all of it, as `**` and `json` do. A copy is a plain dict.
    """

    _unread: frozenset[str] = frozenset()
    _on_read: Callable[[Iterable[str]], object]

    @classmethod
    def watched(
        cls,
        values: Mapping[str, Any],
        unread: Iterable[str],
        on_read: Callable[[Iterable[str]], object],
    ) -> Self:
        """Hyperparameters that tell of reads.

        Args:
            values: their values by name.
            unread: names whose first read is told.
            on_read: takes the names that were read, all of them in one call where all are read.
        """
        watched = cls(values)
        watched._unread, watched._on_read = frozenset(unread), on_read
        return watched

    def _read(self, names: frozenset[str]) -> None:
        if names:
            self._unread -= names
            self._on_read(sorted(names))

    def __getitem__(self, name: str, /) -> Any:
        if name in self._unread:
            self._read(frozenset({name}))
        return super().__getitem__(name)

    def get(self, name: str, *default: Any) -> Any:
        """The value of a name, else the default."""
        self._read(self._unread & {name})
        return super().get(name, *default)

    def pop(self, name: str, *default: Any) -> Any:
        """Remove a name and return its value."""
        self._read(self._unread & {name})
        return super().pop(name, *default)

    def setdefault(self, name: str, *default: Any) -> Any:
        """The value of a name, which is set to the default if it is not there."""
        self._read(self._unread & {name})
        return super().setdefault(name, *default)

    def __iter__(self) -> Iterator[str]:
        self._read(self._unread)
        return super().__iter__()

    def keys(self) -> Any:
        """All names."""
        self._read(self._unread)
        return super().keys()

    def values(self) -> Any:
        """All values."""
        self._read(self._unread)
        return super().values()

    def items(self) -> Any:
        """All names and values."""
        self._read(self._unread)
        return super().items()

    def copy(self) -> dict[str, Any]:
        """A plain dict with all of it."""
        return dict(self)

    def __or__(self, other: Any) -> Any:
        return dict(self) | other

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        return dict, (dict(self),)
