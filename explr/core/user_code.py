"""Calls the user's training function, and finds its part of a traceback."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from explr.core.protocols import TrainFunction, TrainingContext


_context: TrainingContext | None = None


def call_train_function(train_model: TrainFunction, context: TrainingContext) -> Any:
    """Call the training function; `running_context` returns its context in the meantime."""
    global _context
    before, _context = _context, context
    try:
        return train_model(context)
    finally:
        _context = before


def running_context() -> TrainingContext | None:
    """The context of the training that runs in this process; None if none does."""
    return _context


def user_traceback(error: BaseException) -> TracebackType | None:
    """The part of a traceback within the training function; None if there is none."""
    frame = error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code is call_train_function.__code__:
            return frame.tb_next
        frame = frame.tb_next
    return None
