"""Kills of an uploading process, as the process itself would notice them: not at all."""

from __future__ import annotations

from typing import Any


class Killed(BaseException):
    """Stands for a SIGKILL: nobody catches it."""


class KilledAfter:
    """An object whose process is killed when a call has taken effect, and nobody has heard of it.

    Args:
        inner: a sink, or a client of MLflow.
        calls: how many of its calls end well, with the last one.
    """

    def __init__(self, inner: Any, calls: int) -> None:
        self._inner = inner
        self._left = calls

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if not callable(value):
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            result = value(*args, **kwargs)
            self._left -= 1
            if self._left == 0:
                raise Killed
            return result

        return call
