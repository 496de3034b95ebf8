"""How ranks end, and how their ends become that of one training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from explr.core.errors import is_pruning
from explr.core.signals import Terminated
from explr.core.user_code import raised_elsewhere
from explr.launching.pool import WorkerDied
from explr.runner.ranks.agreement import LateRank

COLLECTIVE = (
    "DistBackendError",
    "DistNetworkError",
    "DistStoreError",
    "DistError",
)
"""Classes of torch's errors of an operation that several ranks do together."""

SAID_BY_GLOO = ("gloo/transport", "Timed out waiting", "Connection closed by peer")
"""What gloo's errors say, whose class is that of every error."""


@dataclass(frozen=True)
class End:
    """How a rank ended.

    Args:
        rank: the rank.
        value: what the training returned.
        error: what it raised; None if it returned.
        metric_names: names of the metrics that it recorded.
    """

    rank: int
    value: Any = None
    error: BaseException | None = None
    metric_names: frozenset[str] = field(default_factory=frozenset)


class RankDied(WorkerDied):
    """The process of a rank ended without an answer.

    Args:
        rank: the rank.
        code: its exit code; negative is the signal that killed it.
    """

    def __init__(self, rank: int, code: int) -> None:
        super().__init__(code)
        self.rank = rank
        self.args = (f"rank {rank} was {self}" if code < 0 else f"rank {rank} {self}",)

    def __reduce__(self) -> tuple[type[RankDied], tuple[int, int]]:  # type: ignore[override]
        return type(self), (self.rank, self.code)


class RankHung(WorkerDied):
    """A rank did not come to where the others waited for it.

    Args:
        rank: the rank.
        timeout_s: how long the others waited.
        place: where it stood; empty if that is unknown.
    """

    def __init__(self, rank: int, timeout_s: float, place: str) -> None:
        super().__init__(1)
        self.rank, self.timeout_s, self.place = rank, timeout_s, place
        where = f"; it stood at {place}" if place else ""
        self.args = (
            f"the other ranks waited {timeout_s:g} s for rank {rank}, as long as "
            f"framework.collective_timeout_s allows{where}",
        )

    def __reduce__(self) -> tuple[type[RankHung], tuple[int, float, str]]:  # type: ignore[override]
        return type(self), (self.rank, self.timeout_s, self.place)


def is_collective(error: BaseException | None) -> bool:
    """Whether an error says that another rank was not there."""
    if isinstance(error, LateRank) or type(error).__name__ in COLLECTIVE:
        return True
    return isinstance(error, RuntimeError) and any(said in str(error) for said in SAID_BY_GLOO)


def is_told(end: End) -> bool:
    """Whether a rank ended because it was told to."""
    return isinstance(end.error, Terminated)


def verdict(
    ends: Sequence[End],
    died: Mapping[int, int],
    hung: Sequence[RankHung],
    outputs: Mapping[int, Path],
) -> Any:
    """What the training returned.

    Args:
        ends: the ends of the ranks that have answered, in the order of their answers.
        died: exit codes of the ranks that have not.
        hung: the ranks that others waited for in vain.
        outputs: file with the output of a rank.

    Returns:
        The value of rank 0.

    Raises:
        TrialPruned: a rank was pruned, or pruned itself.
        RankDied: a rank died.
        RankHung: a rank hung.
        BaseException: a rank raised it; a note says which one.
    """
    causes = [end for end in ends if end.error is not None and not is_told(end)]
    for end in causes:
        if is_pruning(end.error):
            assert end.error is not None
            raise raised_elsewhere(end.error)
    if died:
        raise RankDied(*min(died.items()))
    causes.sort(key=lambda end: is_collective(end.error))  # stable: the first of each kind
    if causes and not is_collective(causes[0].error):
        raise _named(causes[0], outputs)
    if hung:
        raise hung[0]
    if causes:
        raise _named(causes[0], outputs)
    told = [end for end in ends if is_told(end)]
    if told:
        raise RankDied(told[0].rank, -15)
    return next(end.value for end in ends if end.rank == 0)


def _named(end: End, outputs: Mapping[int, Path]) -> BaseException:
    assert end.error is not None
    output = outputs.get(end.rank)
    where = f"; its output is in {output}" if output is not None else ""
    end.error.add_note(f"raised in rank {end.rank}{where}")
    return raised_elsewhere(end.error)
