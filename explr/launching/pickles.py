"""Pickles by value what another process of explr's reads.

Exceptions keep their traceback, cause and context, of which plain pickles have none. Functions keep
the file of their source, which cloudpickle drops from 3.1.3 on.
"""

from __future__ import annotations

import io
import pickle
import traceback
from collections.abc import Callable
from types import CodeType, TracebackType
from typing import Any

import cloudpickle
from hydra.core.utils import JobReturn

from explr.config.hydra_private import shown_frame
from explr.core.errors import ExplrError, described

Frame = tuple[str, str, int]
"""File, function and line."""


def dumps(value: Any) -> bytes:
    """A value as bytes, which `pickle.loads` reads.

    Raises:
        Exception: something in it cannot be pickled.
    """
    file = io.BytesIO()
    _Pickler(file).dump(value)
    return file.getvalue()


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, BaseException):
            return _reduced(value)
        if isinstance(value, JobReturn):  # Hydra 1.4 gives it a pickle of its own for exceptions
            return JobReturn, (), vars(value)
        if isinstance(value, CodeType):
            make, arguments = self.dispatch_table[CodeType](value)
            return _code, (value.co_filename, make, arguments)
        return super().reducer_override(value)


def _code(file: str, make: Callable[..., CodeType], arguments: tuple[Any, ...]) -> CodeType:
    return make(*arguments).replace(co_filename=file)


def _reduced(error: BaseException) -> Any:
    """How to make an exception again; one that cannot be is replaced by its description."""
    make: Any
    try:
        copy = pickle.loads(cloudpickle.dumps(error))
        if type(copy) is not type(error) or str(copy) != str(error):
            raise TypeError("unpickled, it is another exception")
        reduced: Any = error.__reduce__()
        make, arguments, *state = reduced
    except Exception:  # noqa: BLE001 - whatever its methods raise
        make, arguments, state = ExplrError, (described(error),), []
    chain = (error.__cause__, error.__context__, error.__suppress_context__)
    frames = [
        (frame.f_code.co_filename, frame.f_code.co_name, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    return make, arguments, (state, chain, frames), None, None, _restore


def _restore(error: BaseException, kept: tuple[list[Any], Any, list[Frame]]) -> None:
    (state, chain, frames) = kept
    if state and state[0] is not None:
        error.__setstate__(state[0])
    error.__cause__, error.__context__, error.__suppress_context__ = chain
    error.__traceback__ = _traceback(frames)


def _traceback(frames: list[Frame]) -> TracebackType | None:
    trace = None
    for file, name, line in reversed(frames):
        trace = TracebackType(trace, shown_frame(file, name), -1, line)
    return trace
