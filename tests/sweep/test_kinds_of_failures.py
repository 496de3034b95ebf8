"""What kind of failure the end of a job is."""

from __future__ import annotations

import errno
import math
import signal

import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from explr.core.errors import CheckpointError, DivergedError, ResultError, UsageError
from explr.launching.pool import Answer, WorkerDied
from explr.sweep.executors import outcome
from explr.sweep.executors.outcome import failure_of, judge, outcome_of
from explr.tuning.feasibility.failure import Failure
from explr.tuning.trial import Outcome


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), Failure.OUT_OF_MEMORY),
        (caused(ValueError("no batch"), MemoryError()), Failure.OUT_OF_MEMORY),
        (DivergedError("the objective is NaN at step 3"), Failure.DIVERGED),
        (FloatingPointError("overflow"), Failure.DIVERGED),
        (ResultError("train_model returned a list"), Failure.INVALID),
        (OSError(errno.ENOSPC, "no space"), Failure.DISK_FULL),
        (caused(CheckpointError("not saved"), OSError(errno.ENOSPC, "")), Failure.DISK_FULL),
        (ValueError("oops"), Failure.ERROR),
        (UsageError("no such file"), Failure.ERROR),
        (SystemExit(3), Failure.ERROR),
    ],
)
def test_what_a_training_raises(error: BaseException, kind: Failure) -> None:
    assert failure_of(error) is kind


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (-signal.SIGKILL, Failure.KILLED),
        (-signal.SIGTERM, Failure.KILLED),
        (-signal.SIGSEGV, Failure.CRASH),
        (-signal.SIGABRT, Failure.CRASH),
        (3, Failure.CRASH),
    ],
)
def test_how_a_process_ends(code: int, kind: Failure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome, "kills_for_memory", lambda: 7)
    found = outcome_of(Answer(0, error=WorkerDied(code)), kills_before=7)
    assert (found.state, found.failure, found.died) == ("FAIL", kind, True)
    assert found.out_of_memory == (code == -signal.SIGKILL)
    assert found.reason == str(WorkerDied(code))


def test_the_kernel_kills_for_memory_and_explr_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome, "kills_for_memory", lambda: 8)
    answer = Answer(0, error=WorkerDied(-signal.SIGKILL))
    found = outcome_of(answer, kills_before=7)
    assert (found.failure, found.reason) == (
        Failure.OUT_OF_MEMORY, "out of memory: the kernel killed it",
    )  # fmt: skip
    stopped = outcome_of(answer, kills_before=None)
    assert (stopped.failure, stopped.out_of_memory) == (Failure.KILLED, False)


def test_an_app_returns_what_has_a_constraint_by_name_or_after_its_objective() -> None:
    sweeper = {"metric": "loss", "constraints": {"latency_ms": "<= 5"}}
    returned = JobReturn(status=JobStatus.COMPLETED)
    returned.hydra_cfg = OmegaConf.create({"hydra": {"sweeper": sweeper}})
    returned.return_value = {"latency_ms": 3, "loss": 0.5, "other": 9}
    assert judge(returned, 2) == Outcome("COMPLETE", (0.5, 3.0))
    returned.return_value = (0.5, 3)
    assert judge(returned, 2) == Outcome("COMPLETE", (0.5, 3.0))
    returned.return_value = 0.5
    reason = "returned 1 values in place of 2: the objectives, then latency_ms"
    assert judge(returned, 2) == Outcome("FAIL", (), reason, Failure.INVALID)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (math.nan, Failure.DIVERGED),
        (math.inf, None),
        ("0.5", Failure.INVALID),
        (True, Failure.INVALID),
        ((1.0, 2.0), Failure.INVALID),
    ],
)
def test_what_a_job_returns(value: object, kind: Failure | None) -> None:
    returned = JobReturn(status=JobStatus.COMPLETED)
    returned.return_value = value
    assert judge(returned, 1).failure is kind
