"""Kinds of failures: those that a trial's parameters cause, and accidents."""

from __future__ import annotations

from enum import StrEnum


class Failure(StrEnum):
    """Why a trial failed."""

    OUT_OF_MEMORY = "out of memory"
    DIVERGED = "diverged"
    """The objective is NaN."""
    ERROR = "error"
    """The training raised an exception."""
    TIMEOUT = "timeout"
    CRASH = "crash"
    """Its process ended by itself, at each attempt."""
    INVALID = "invalid result"
    KILLED = "killed"
    """Another process killed it."""
    WORKER_LOST = "worker lost"
    """What runs it, such as a machine of a cluster, is gone."""
    DISK_FULL = "disk full"

    @property
    def is_accident(self) -> bool:
        """Whether it says nothing about the parameters of the trial, so that a retry may help."""
        return self in (Failure.KILLED, Failure.WORKER_LOST, Failure.DISK_FULL)


FAILURE = "explr.failure"
"""User attribute of a failed trial: the kind of its failure."""
