"""The controller's side of the fork server: start jobs, wait for the first, stop them."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.machinery import PathFinder
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Any

import cloudpickle

from explr.core.errors import ExplrError, described
from explr.launching.child import signal_session
from explr.launching.messages import Ended, SetUp, Signal, Start, Started
from explr.launching.pickles import dumps
from explr.launching.server import link_server
from explr.utils.scratch import scratch_folder

KILL_AFTER_S = 5.0
"""Seconds between SIGINT and SIGKILL."""


class WorkerDied(ExplrError):
    """The process of a job ended without an answer.

    Args:
        code: its exit code; negative is the signal that killed it.
    """

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(f"killed by signal {-code}" if code < 0 else f"exited with code {code}")

    def __reduce__(self) -> tuple[type[WorkerDied], tuple[int]]:
        return type(self), (self.code,)


def travel_by_value(function: Any) -> None:
    """Have a function's module pickled whole where a job's process could not import it."""
    name = getattr(function, "__module__", None) or "__main__"
    top = name.partition(".")[0]
    if name != "__main__" and PathFinder.find_spec(top) is None and name in sys.modules:
        cloudpickle.register_pickle_by_value(sys.modules[name])


@dataclass(frozen=True)
class Answer:
    """The answer of a job.

    Args:
        key: the job.
        value: what it returned; None if it failed.
        error: what it raised, or `WorkerDied`; None if it returned.
    """

    key: int
    value: Any = None
    error: BaseException | None = None


class LocalPool:
    """Runs jobs in fresh processes that are forked from one that has imported the framework.

    Args:
        run: called in the job's process with the job's argument; must pickle by cloudpickle.
        preload: modules to import before the first job is forked.
        prepare: called before the first job is forked, after the imports.
        warm_up: called in the process of each job before the job comes; has no lasting effect.
        shared: name of a fork server that all pools of this user on this machine share; they must
            pass the same `run`, `preload`, `prepare` and `warm_up`. None starts its own.

    Raises:
        ExplrError: the process that jobs are forked from does not start, or `prepare` raised it.
    """

    def __init__(
        self,
        run: Callable[[Any], Any],
        preload: list[str],
        prepare: Callable[[], None] = lambda: None,
        warm_up: Callable[[], None] = lambda: None,
        shared: str | None = None,
    ) -> None:
        self._link_server = partial(link_server, SetUp(preload, prepare, warm_up, run), shared)
        self._answers = scratch_folder()
        self._running: dict[int, list[tuple[float, int]]] = {}
        self._pids: dict[int, int] = {}
        self._lost: list[Answer] = []
        try:
            self._server = self._link_server()
        except BaseException:
            self._answers.cleanup()
            raise

    @property
    def running(self) -> set[int]:
        """Keys of the jobs that run."""
        return set(self._running)

    @property
    def pids(self) -> dict[int, int]:
        """The process of each job that runs, as far as it is known yet."""
        return dict(self._pids)

    def start(
        self,
        key: int,
        argument: Any,
        *,
        environment: Mapping[str, str] | None = None,
        output: Path | None = None,
    ) -> None:
        """Start a job.

        Args:
            key: identifies the job until it ends.
            argument: what `run` is called with.
            environment: variables to set in its process.
            output: file for its standard output and error; None shares those of the controller.
        """
        self._running[key] = []
        self._send(
            Start(
                key,
                dumps(argument),
                dict(environment or {}),
                str(output) if output else None,
                str(self._answer_file(key)),
            )
        )

    def wait(self, timeout_s: float | None, wake: Connection | None = None) -> list[Answer]:
        """Wait for jobs to end.

        Args:
            timeout_s: how long at most; None waits for the first.
            wake: also ends the wait, as soon as it is readable.

        Returns:
            The answers of the jobs that ended; empty after the time-out, or when woken. If the
            server was killed, so were its jobs, and a new server is started.

        Raises:
            ExplrError: no new server starts.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        answers, self._lost = self._lost, []
        while not answers:
            self._signal_due()
            times = [signals[0][0] for signals in self._running.values() if signals]
            if deadline is not None:
                times.append(deadline)
            pause = max(0.0, min(times) - time.monotonic()) if times else None
            ready = wait([self._server.connection, *([wake] if wake else [])], pause)
            if self._server.connection in ready:
                answers += self._receive()
            elif ready or (deadline is not None and time.monotonic() >= deadline):
                break
        while self._server.connection.poll(0):
            answers += self._receive()
        return answers

    def stop(self, key: int, grace_s: float = KILL_AFTER_S, patience_s: float = 0.0) -> None:
        """Have a job end; `wait` tells when it has.

        All that the job has started gets the signals too, as from Ctrl-C in a terminal.

        Args:
            key: the job.
            grace_s: seconds between interrupting and killing it.
            patience_s: seconds until it is interrupted, in which it may end by itself.
        """
        if key not in self._running:
            return
        now = time.monotonic() + patience_s
        interruption = [(now, signal.SIGINT)] if grace_s > 0 else []
        self._running[key] = [*interruption, (now + grace_s, signal.SIGKILL)]
        self._signal_due()

    def close(self) -> None:
        """End whatever runs, and the server unless others share it."""
        self._server.close()
        self._answers.cleanup()

    def __enter__(self) -> LocalPool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _signal_due(self) -> None:
        """Send the signals whose time has come."""
        now = time.monotonic()
        for key, signals in list(self._running.items()):
            while signals and now >= signals[0][0]:
                self._send(Signal(key, signals.pop(0)[1]))

    def _send(self, message: Start | Signal) -> None:
        try:
            self._server.connection.send(message)
        except OSError:
            self._lost += self._replace_server()

    def _receive(self) -> list[Answer]:
        """Take one message: the answer of a job that ended, if it is one."""
        try:
            message = self._server.connection.recv()
        except (EOFError, OSError):
            return self._replace_server()
        if isinstance(message, Started):
            self._pids[message.key] = message.pid
            return []
        assert isinstance(message, Ended)
        return [self._answer(message)]

    def _answer(self, ended: Ended) -> Answer:
        del self._running[ended.key]
        self._pids.pop(ended.key, None)
        file = self._answer_file(ended.key)
        try:
            # Written by our own job, in a folder that only this user can enter.
            value, error = pickle.loads(file.read_bytes())
        except FileNotFoundError:
            return Answer(ended.key, error=WorkerDied(ended.code))
        except Exception as fault:  # noqa: BLE001 - one job's trouble stays that job's
            text = f"what the job returned cannot be read: {described(fault)}"
            value, error = None, ExplrError(text)
        os.unlink(file)
        return Answer(ended.key, value, error)  # also if it was killed after writing the answer

    def _replace_server(self) -> list[Answer]:
        """Start a new server after the old one was killed; its jobs are lost with it."""
        code = self._server.lost()
        for pid in self._pids.values():
            signal_session(pid, signal.SIGKILL)
        lost = [self._answer(Ended(key, code)) for key in list(self._running)]
        self._server = self._link_server()
        return lost

    def _answer_file(self, key: int) -> Path:
        return Path(self._answers.name) / f"{key}.answer"
