"""How a trial reports to its controller, from any process or machine.

The controller listens on a socket. A trial proves that it knows the key, then sends JSON messages
and gets one answer to each. Messages are never unpickled.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from explr.core.errors import (
    BY_TUNER,
    DivergedError,
    ExplrError,
    JobStopped,
    TrialPruned,
    described,
)
from explr.core.signals import stop
from explr.utils.scratch import scratch_folder

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

CHANNEL_VARIABLE = "EXPLR_CHANNEL"
"""Environment variable with the address, the key and the job of a trial."""

FILE = "file:"
"""Prefix of a value that names a file with the address, key and job."""

MAX_MESSAGE = 65536
"""Maximum bytes of a message."""

MOST_NAMES = 6
"""How many metrics are told that are reported in place of the objective."""

Report = Callable[[int, int, float], bool]
"""Receives the key of a job, a step and a value; returns whether to prune the job."""

Missed = Callable[[int, Sequence[str]], object]
"""Receives the key of a job that reports metrics, but not the objective, and their names."""


SOCKET = "channel"
"""File name of the Unix socket."""


def _place(host: str | None) -> tuple[TemporaryDirectory[str], str | tuple[str, int]]:
    """A folder for the files of a channel, and the address to listen on."""
    if host is not None:
        return scratch_folder(), (host, 0)
    try:
        folder = scratch_folder(SOCKET)
    except OSError:  # no path is short enough for a Unix socket
        return scratch_folder(), ("127.0.0.1", 0)
    return folder, f"{folder.name}/{SOCKET}"


class ChannelServer:
    """Listens for the reports of trials in its own threads.

    Args:
        report: called with each report.
        host: address to listen on for trials of other machines; None listens on a Unix socket,
            which is faster and accessible only to this user on this machine, or on this machine's
            own address if no path for the socket is short enough.
        metric: name of the metric that a trial of another app reports; None takes its first one.
        missed: called with what a trial reports in place of the objective.
    """

    def __init__(
        self,
        report: Report,
        host: str | None = None,
        metric: str | None = None,
        missed: Missed = lambda job, names: None,
    ) -> None:
        from multiprocessing.connection import Listener

        self.report = report
        self.missed = missed
        self._metric = metric
        self._key = secrets.token_bytes(32)
        self._is_local = host is None
        self._folder, address = _place(host)
        self._listener = Listener(address, backlog=64)
        self._closed = False
        threading.Thread(target=self._accept, name="explr-channel", daemon=True).start()

    def variable(self, job: int) -> dict[str, str]:
        """Environment variables for a job that reports here."""
        order = {"address": self._listener.address, "key": self._key.hex(), "job": job}
        return {CHANNEL_VARIABLE: json.dumps({**order, "metric": self._metric})}

    def reference(self, job: int) -> dict[str, str]:
        """Environment variables for a job whose launcher may print them: the key is in a file.

        Other machines cannot read this file, so there the variable contains the key.
        """
        text = self.variable(job)[CHANNEL_VARIABLE]
        if not self._is_local:
            return {CHANNEL_VARIABLE: text}
        file = Path(self._folder.name, f"job-{job}")
        file.touch(mode=0o600)
        file.write_text(text)
        return {CHANNEL_VARIABLE: f"{FILE}{file}"}

    def close(self) -> None:
        """Stop listening."""
        from multiprocessing.connection import Client

        self._closed = True
        # A thread in `accept` does not notice that its socket was closed.
        with suppress(OSError):
            Client(self._listener.address).close()
        self._listener.close()
        self._folder.cleanup()

    def _accept(self) -> None:
        while not self._closed:
            try:
                connection = self._listener.accept()
            except OSError:
                continue  # it disconnected during the handshake
            threading.Thread(
                target=self._converse, args=(connection,), name="explr-report", daemon=True
            ).start()

    def _converse(self, connection: Connection) -> None:
        from multiprocessing import AuthenticationError
        from multiprocessing.connection import answer_challenge, deliver_challenge

        # A client that disconnects or sends no JSON ends only its own connection. A silent one
        # blocks only its own thread.
        with connection, suppress(AuthenticationError, EOFError, OSError, ValueError):
            deliver_challenge(connection, self._key)
            answer_challenge(connection, self._key)
            while True:
                message = _parse(connection.recv_bytes(MAX_MESSAGE))
                if "missed" in message:
                    self.missed(message["job"], message["missed"])
                    connection.send_bytes(b"{}")
                    continue
                try:
                    prune = self.report(message["job"], message["step"], message["value"])
                    answer: dict[str, Any] = {"prune": bool(prune)}
                except JobStopped:
                    answer = {"stop": True}
                except Exception as error:  # noqa: BLE001 - the trial is told, and fails with it
                    answer = {"error": described(error)}
                connection.send_bytes(json.dumps(answer).encode())


class ChannelReporter:
    """A trial's end of the channel.

    Each thread of each process has its own connection, so all of them may report at once.

    Args:
        text: what `ChannelServer` put into the environment.
    """

    def __init__(self, text: str) -> None:
        if text.startswith(FILE):
            text = Path(text.removeprefix(FILE)).read_text()
        self._text = text
        order = json.loads(text)
        address = order["address"]
        self._address = address if isinstance(address, str) else tuple(address)
        self._key = bytes.fromhex(order["key"])
        self._job = int(order["job"])
        self.metric: str | None = order.get("metric")
        """Name of the metric to report in an app that is not explr's; None takes the first one."""
        self._own = threading.local()
        self._prune = False

    def __reduce__(self) -> tuple[type[ChannelReporter], tuple[str]]:
        return ChannelReporter, (self._text,)

    @classmethod
    def from_environment(cls) -> ChannelReporter | None:
        """The reporter of this process's trial; None outside a sweep that listens."""
        text = os.environ.get(CHANNEL_VARIABLE)
        return cls(text) if text else None

    def report(self, step: int, value: float) -> None:
        """Report the value of the objective at a step.

        Raises:
            TrialPruned: the answer to an earlier report was to prune, and the training continued.
            Terminated: the controller has told the trial to stop.
            DivergedError: the value is NaN.
            ExplrError: the controller is gone or refuses the report.
        """
        self._refuse_if_pruned()
        try:
            answer = self._told({"step": step, "value": float(value)})
        except (OSError, EOFError) as error:
            raise ExplrError("the controller of this sweep is gone") from error
        if answer.get("stop"):
            stop()
        if "error" in answer:
            if math.isnan(value):
                raise DivergedError(f"the objective is NaN at step {step}")
            raise ExplrError(f"the controller of this sweep refused a report: {answer['error']}")
        if answer["prune"]:  # another thread may have been told before
            self._prune = True

    def missed(self, step: object, names: Iterable[str]) -> None:
        """Tell the controller what is reported in place of the objective, if it is there."""
        with suppress(OSError, EOFError):
            self._told({"missed": [*names][:MOST_NAMES]})

    def _told(self, message: dict[str, Any]) -> dict[str, Any]:
        """The controller's answer to a message of this job."""
        connection = self._connected()
        connection.send_bytes(json.dumps({"job": self._job, **message}).encode())
        return _parse(connection.recv_bytes(MAX_MESSAGE))

    def should_prune(self) -> bool:
        """Whether the answer to a report was to prune."""
        return self._prune

    def _refuse_if_pruned(self) -> None:
        if self._prune:
            raise TrialPruned(BY_TUNER)

    def _connected(self) -> Connection:
        """The connection of this thread; a forked process has inherited that of its parent."""
        from multiprocessing.connection import Client

        own = self._own
        if getattr(own, "pid", None) != os.getpid():
            own.connection, own.pid = Client(self._address, authkey=self._key), os.getpid()
        connection: Connection = own.connection
        return connection


def _parse(content: bytes) -> dict[str, Any]:
    message = json.loads(content)
    if not isinstance(message, dict):
        raise ValueError(f"a message must be a mapping, got {message!r}")
    return message
