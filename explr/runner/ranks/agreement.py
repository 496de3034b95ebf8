"""One answer for all ranks: rank 0 asks the tuner, the others get what it was told.

Every rank asks equally often, since all run the same code. So the n-th answer of rank 0 is the
n-th answer of every rank, at the same step, whether all ranks report or rank 0 alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection
from typing import Any

from explr.core.errors import ExplrError
from explr.core.reporter import HeardReporter, Reporter


class Agreement:
    """The leader's part: keeps the answers of rank 0 and gives them to the other ranks."""

    def __init__(self) -> None:
        self._answers: list[bool] = []
        self._rest: bool | None = None
        self._waiting: dict[int, int] = {}

    def decided(self, prune: bool) -> list[tuple[int, bool]]:
        """Note the next answer of rank 0.

        Returns:
            The ranks that waited for it, each with its answer.
        """
        self._answers.append(prune)
        return self._released()

    def asked(self, rank: int, number: int) -> list[tuple[int, bool]]:
        """Note that a rank asks.

        Args:
            rank: the rank, not 0.
            number: how often it has asked before.

        Returns:
            Its answer, if there is one already.
        """
        self._waiting[rank] = number
        return self._released()

    def left(self, pruned: bool) -> list[tuple[int, bool]]:
        """Note that rank 0 has ended: who still asks is answered by how.

        Returns:
            The ranks that waited, each with its answer.
        """
        self._rest = pruned
        return self._released()

    def _released(self) -> list[tuple[int, bool]]:
        found = []
        for rank, number in sorted(self._waiting.items()):
            if number < len(self._answers):
                found.append((rank, self._answers[number]))
            elif self._rest is not None:
                found.append((rank, self._rest))
        for rank, _ in found:
            del self._waiting[rank]
        return found


class LateRank(ExplrError):
    """Another rank did not come in time."""


class Line:
    """A rank's end of its line to the leader; its threads take turns.

    Args:
        connection: the end of a pipe.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._turn = threading.Lock()

    def tell(self, *message: Any) -> None:
        """Send a message that has no answer."""
        with self._turn:
            self._connection.send(message)

    def ask(self, *message: Any, timeout_s: float | None = None) -> Any:
        """Send a message and wait for its answer.

        Raises:
            LateRank: none came within `timeout_s` seconds.
            BaseException: the leader answers with it.
        """
        with self._turn:
            self._connection.send(message)
            if not self._connection.poll(timeout_s):
                raise LateRank(
                    f"rank 0 has not asked the tuner within {timeout_s:g} s, as this rank has: all "
                    "ranks must read ctx.should_prune equally often"
                )
            answer = self._connection.recv()
        if isinstance(answer, BaseException):
            raise answer
        return answer


class FirstReporter:
    """The reporter of rank 0: the leader passes its reports on.

    Args:
        line: to the leader.
        elsewhere: makes the reporter of a process that this one starts and gives it to.
    """

    def __init__(self, line: Line, elsewhere: Callable[[], Reporter]) -> None:
        self._line = line
        self._elsewhere = elsewhere
        self._prune = False

    def __reduce__(self) -> tuple[Callable[[], Reporter], tuple[()]]:
        return self._elsewhere, ()

    def report(self, step: Any, value: Any) -> None:
        """See `Reporter.report`.

        Raises:
            Exception: whatever the reporter of the leader raises.
        """
        self._prune = self._line.ask("report", step, value)

    def missed(self, step: object, names: Iterable[str]) -> None:
        """See `Reporter.missed`."""
        self._line.tell("missed", str(step), list(map(str, names)))

    def should_prune(self) -> bool:
        """See `Reporter.should_prune`; tells the other ranks."""
        self._line.tell("decided", self._prune)
        return self._prune


class RelayedReporter(HeardReporter):
    """Takes steps and values of any type in a rank; the leader's reporter counts what is missed."""

    def missed(self, step: object, names: Iterable[str]) -> None:
        """See `Reporter.missed`."""
        self._answering.missed(step, names)


class OtherReporter:
    """The reporter of the other ranks, which do not report.

    Args:
        line: to the leader.
        timeout_s: how long it waits for rank 0.
    """

    def __init__(self, line: Line, timeout_s: float) -> None:
        self._line = line
        self._timeout_s = timeout_s
        self._asked = 0

    def report(self, step: Any, value: Any) -> None:
        """Do nothing."""

    def missed(self, step: object, names: Iterable[str]) -> None:
        """Do nothing."""

    def should_prune(self) -> bool:
        """What rank 0 is told when it asks as often.

        Raises:
            LateRank: rank 0 does not ask.
        """
        number, self._asked = self._asked, self._asked + 1
        return bool(self._line.ask("asked", number, timeout_s=self._timeout_s))
