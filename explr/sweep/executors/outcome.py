"""Turns the end of a job into an `Outcome`."""

from __future__ import annotations

import errno
import math
import os
import signal
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf

from explr.config.hydra_private import value_of
from explr.config.nodes import SWEEPER_NODE
from explr.core.errors import DivergedError, ExplrError, ResultError, described, is_pruning
from explr.core.framework import frameworks
from explr.core.secrets.masking import redacted_text
from explr.core.user_code import user_traceback
from explr.launching.pool import Answer, WorkerDied
from explr.tuning.feasibility.failure import Failure
from explr.tuning.trial import Outcome
from explr.utils.host import kills_for_memory

OUT_OF_MEMORY = str(Failure.OUT_OF_MEMORY)
"""Prefix of the reason if memory ran out."""

KILLS = {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP}
"""Exit codes of processes that another one has killed."""


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


def metrics_of(config: DictConfig | None) -> list[str]:
    """The names of the objectives in a sweep's config; none if it does not name them."""
    named = OmegaConf.select(config, f"{SWEEPER_NODE}.metric") if config is not None else None
    return [named] if isinstance(named, str) else [str(name) for name in named or ()]


def constraints_in(config: DictConfig | None) -> list[str]:
    """The names of the metrics that have a constraint in a sweep's config."""
    named = OmegaConf.select(config, f"{SWEEPER_NODE}.constraints") if config is not None else None
    return [str(name) for name in named or ()]


def metric_of(config: DictConfig) -> str | None:
    """The name of the objective that trials report; None if the config does not name it."""
    return next(iter(metrics_of(config)), None)


def judge(returned: JobReturn, objectives: int) -> Outcome:
    """The outcome of a finished job.

    Args:
        returned: what Hydra returned for the job.
        objectives: number of values that it must return. With a single one it may return nothing:
            the outcome then has no values, and what the job has reported counts.
    """
    value = value_of(returned)
    if returned.status is not JobStatus.COMPLETED:
        if is_pruning(value):
            return Outcome("PRUNED", reason=str(value))
        if isinstance(value, BaseException):
            return failed_outcome(value)
    if value is None and objectives == 1:
        return Outcome("COMPLETE")
    if isinstance(value, Mapping):
        names = metrics_of(returned.hydra_cfg)
        if names:
            names += constraints_in(returned.hydra_cfg)
        if not names or any(name not in value for name in names):
            return _invalid(_unnamed(value, names))
        value = [value[name] for name in names]
    values = value if isinstance(value, (list, tuple)) else (value,)
    if len(values) != objectives:
        return _invalid(_wrong_count(len(values), objectives, returned.hydra_cfg))
    numbers = []
    for one in values:
        try:
            number = math.nan if isinstance(one, (str, bytes, bool)) else float(one)
        except (TypeError, ValueError):
            number = math.nan
        if math.isnan(number):
            has_diverged = isinstance(one, float) or hasattr(one, "dtype")
            return _invalid(
                f"returned {one!r}, which is no number",
                Failure.DIVERGED if has_diverged else Failure.INVALID,
            )
        numbers.append(number)
    return Outcome("COMPLETE", tuple(numbers))


def _invalid(reason: str, failure: Failure = Failure.INVALID) -> Outcome:
    return Outcome("FAIL", reason=reason, failure=failure)


def _wrong_count(count: int, wanted: int, config: DictConfig | None) -> str:
    if not (bounded := constraints_in(config)):
        return f"returned {count} values for {wanted} objectives"
    names = ", ".join(bounded)
    return f"returned {count} values in place of {wanted}: the objectives, then {names}"


def _unnamed(value: Mapping[Any, Any], names: Sequence[str]) -> str:
    """Why a dict that a job returned has no objective."""
    there = ", ".join(map(str, value)) or "nothing"
    wanted = f"no {', '.join(name for name in names if name not in value)}" if names else "a dict"
    return f"returned {wanted}: set {SWEEPER_NODE}.metric to the name of its objective ({there})"


def outcome_of(answer: Answer, kills_before: int | None = None) -> Outcome:
    """The outcome of a process that ran `RunTrial`; if it gave no answer, it died.

    Args:
        answer: the answer of the process.
        kills_before: number of processes that the OOM killer had killed when this one started; None
            if explr has killed it.
    """
    if answer.error is not None:
        reason, error = str(answer.error), answer.error
        if not isinstance(error, WorkerDied):
            return Outcome("FAIL", reason=reason, failure=Failure.ERROR)
        kind = _of_death(error)
        may_lack_memory = error.code == -signal.SIGKILL and kills_before is not None
        if may_lack_memory and kills_for_memory() > (kills_before or 0):
            reason, kind = f"{OUT_OF_MEMORY}: the kernel killed it", Failure.OUT_OF_MEMORY
        return Outcome("FAIL", (), reason, kind, died=True, out_of_memory=may_lack_memory)
    assert isinstance(answer.value, Outcome)
    return answer.value


def _of_death(error: WorkerDied) -> Failure:
    return Failure.KILLED if error.code in KILLS else Failure.CRASH


def failure_of(error: BaseException) -> Failure:
    """The kind of failure that an exception of a training stands for."""
    if is_out_of_memory(error):
        return Failure.OUT_OF_MEMORY
    if _is_disk_full(error):
        return Failure.DISK_FULL
    if isinstance(error, (DivergedError, FloatingPointError)):
        return Failure.DIVERGED
    return Failure.INVALID if isinstance(error, ResultError) else Failure.ERROR


def _is_disk_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return True
    return error.__cause__ is not None and _is_disk_full(error.__cause__)


def failed_outcome(error: BaseException) -> Outcome:
    """The outcome of a job that raised an exception."""
    if isinstance(error, WorkerDied):  # a process of several that train together
        killed, kind = error.code == -signal.SIGKILL, _of_death(error)
        return Outcome("FAIL", (), str(error), kind, died=True, out_of_memory=killed)
    failure = failure_of(error)
    if isinstance(error, ExplrError):
        return Outcome("FAIL", reason=redacted_text(str(error)), failure=failure)
    reason = described(error)
    if out_of_memory := failure is Failure.OUT_OF_MEMORY:
        reason = f"{OUT_OF_MEMORY}: {error}".removesuffix(": ")
    elif isinstance(error, OSError) and error.errno == errno.ENOSPC:
        reason = f"no space left at {error.filename or os.getcwd()}"
    own = user_traceback(error) or error.__traceback__
    detail = "".join(traceback.format_exception(type(error), error, own))
    return Outcome(
        "FAIL",
        reason=redacted_text(reason),
        failure=failure,
        detail=redacted_text(detail),
        out_of_memory=out_of_memory,
    )
