"""Turns the end of a job into an `Outcome`."""

from __future__ import annotations

import errno
import math
import os
import traceback

from hydra.core.utils import JobReturn, JobStatus

from explr.config.hydra_private import value_of
from explr.core.errors import ExplrError, described, is_pruning
from explr.core.framework import frameworks
from explr.core.secrets import redacted_text
from explr.core.user_code import user_traceback
from explr.launching.pool import Answer, WorkerDied
from explr.tuning.trial import Outcome

OUT_OF_MEMORY = "out of memory"
"""Prefix of the reason if memory ran out."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception, or a cause of it, means that memory ran out.

    Args:
        error: what a training raised.
    """
    if any(framework.is_out_of_memory(error) for framework in frameworks()):
        return True
    return error.__cause__ is not None and is_out_of_memory(error.__cause__)


def unjudged(error: BaseException) -> Outcome:
    """The outcome of a job that ended with an exception that Hydra does not catch."""
    if isinstance(error, KeyboardInterrupt):
        return Outcome("RUNNING", reason="ended by a signal")
    return failed_outcome(error)


def judge(returned: JobReturn, objectives: int) -> Outcome:
    """The outcome of a finished job.

    Args:
        returned: what Hydra returned for the job.
        objectives: number of values that it must return.
    """
    value = value_of(returned)
    if returned.status is not JobStatus.COMPLETED:
        if is_pruning(value):
            return Outcome("PRUNED", reason=str(value))
        if isinstance(value, BaseException):
            return failed_outcome(value)
    values = value if isinstance(value, (list, tuple)) else (value,)
    if len(values) != objectives:
        return Outcome("FAIL", reason=f"returned {len(values)} values for {objectives} objectives")
    numbers = []
    for one in values:
        try:
            number = math.nan if isinstance(one, (str, bytes, bool)) else float(one)
        except (TypeError, ValueError):
            number = math.nan
        if math.isnan(number):
            return Outcome("FAIL", reason=f"returned {one!r}, which is no number")
        numbers.append(number)
    return Outcome("COMPLETE", tuple(numbers))


def outcome_of(answer: Answer) -> Outcome:
    """The outcome of a process that ran `RunTrial`; if it gave no answer, it died.

    Args:
        answer: the answer of the process.
    """
    if answer.error is not None:
        died = isinstance(answer.error, WorkerDied)
        return Outcome("FAIL", reason=str(answer.error), died=died)
    assert isinstance(answer.value, Outcome)
    return answer.value


def failed_outcome(error: BaseException) -> Outcome:
    """The outcome of a job that raised an exception."""
    if isinstance(error, ExplrError):
        return Outcome("FAIL", reason=redacted_text(str(error)))
    reason = described(error)
    if out_of_memory := is_out_of_memory(error):
        reason = f"{OUT_OF_MEMORY}: {error}".removesuffix(": ")
    elif isinstance(error, OSError) and error.errno == errno.ENOSPC:
        reason = f"no space left at {error.filename or os.getcwd()}"
    own = user_traceback(error) or error.__traceback__
    detail = "".join(traceback.format_exception(type(error), error, own))
    return Outcome(
        "FAIL",
        reason=redacted_text(reason),
        detail=redacted_text(detail),
        out_of_memory=out_of_memory,
    )
