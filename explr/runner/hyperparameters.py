"""Hyperparameters that note when a training reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Self

from explr.core.protocols import Hyperparameters


class WatchedHyperparameters(Hyperparameters):
    """Hyperparameters that tell of the first read of some of their values.

    Whoever goes through them reads all of them, as `**` and `json` do. A copy tells nothing.
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
        object.__setattr__(watched, "_unread", frozenset(unread))
        object.__setattr__(watched, "_on_read", on_read)
        return watched

    def _read(self, names: frozenset[str]) -> None:
        if names:
            object.__setattr__(self, "_unread", self._unread - names)
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
