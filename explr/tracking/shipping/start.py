"""Starts the companion: the process beside a training that uploads journals."""

from __future__ import annotations

import atexit
import json
import logging
import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass

from explr.core.errors import TrackingError
from explr.tracking.home import explr_home, rotated_log
from explr.utils.processes import ProcessIdentity, identity_of, python_path

log = logging.getLogger("explr.tracking")

LOG_FILE = "mirror.log"
"""Name of the companions' log file in EXPLR_HOME."""


@dataclass(frozen=True)
class Order:
    """What a companion is to do; it reads this from standard input, which no other user can see.

    Args:
        uri: tracking URI to upload to.
        pid: process to follow; None follows no process, and uploads what is there.
        started: when that process started.
        serve: start an MLflow server for a local store.
        port: first port to try for it.
        tell: descriptor to which is written why the sink cannot be used, and the address of the
            runs; None for none.
    """

    uri: str
    pid: int | None = None
    started: str = ""
    serve: bool = False
    port: int = 5000
    tell: int | None = None

    @property
    def followed(self) -> ProcessIdentity | None:
        """The process to follow."""
        return None if self.pid is None else ProcessIdentity(self.pid, self.started)


_children: dict[str, subprocess.Popen[bytes]] = {}
_listeners: dict[str, _Listener] = {}
_first_words: dict[str, str] = {}
_closing: set[str] = set()


@atexit.register
def _let_finish() -> None:
    """Leave companions running at exit, without Popen's warning about running processes."""
    for child in _children.values():
        child.returncode = child.poll() or 0


def ensure_companion(uri: str, *, serve: bool, port: int) -> None:
    """Start a companion for this process and store, unless one runs.

    If the sink cannot be used, a warning says so as soon as the companion has had a first look.

    Args:
        uri: tracking URI to upload to.
        serve: start an MLflow server for a local store.
        port: first port to try for it.

    Raises:
        TrackingError: the process cannot be started.
    """
    if has_companion(uri):
        return
    me = identity_of()
    ear, tell = os.pipe()
    order = Order(uri, me.pid, me.started, serve, port, tell)
    # Its files are in UTF-8, whatever the locale of the training is.
    environment = {**os.environ, "PYTHONPATH": python_path(), "PYTHONUTF8": "1"}
    environment.pop("PYTHONWARNINGS", None)  # meant for the training, not for MLflow's modules
    try:
        with rotated_log(explr_home() / LOG_FILE).open("ab") as output:
            child = subprocess.Popen(
                # -P: files in EXPLR_HOME are not importable modules.
                [sys.executable, "-P", "-m", "explr.tracking.shipping.companion"],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd=explr_home(),
                env=environment,
                pass_fds=(tell,),
            )
    except OSError as error:
        os.close(ear)
        raise TrackingError(f"the upload process did not start: {error}") from error
    finally:
        os.close(tell)
    _listeners[uri] = _Listener(uri, ear)
    _children[uri] = child
    assert child.stdin is not None
    with suppress(BrokenPipeError):  # it died at once, as `has_companion` says then
        child.stdin.write(json.dumps(asdict(order)).encode())
        child.stdin.close()


class _Listener:
    """Logs what a companion tells: what its first look has found, and where the runs are.

    Its thread ends when the companion has told. No trial has it: a sweep's companion looks for all.

    Args:
        uri: tracking URI.
        ear: descriptor that the companion's words come from.
    """

    def __init__(self, uri: str, ear: int) -> None:
        self._uri = uri
        self._ear = ear
        self._called, self._call = os.pipe()
        self._open = True
        self._turn = threading.Lock()
        self._begun = b""
        self.start()

    def start(self) -> None:
        """Listen, unless the companion has told."""
        if self._open:
            self._thread = threading.Thread(target=self._listen, name="first look", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread; what is told meanwhile is heard after `start`."""
        with self._turn:
            if self._open:
                os.write(self._call, b".")
        self._thread.join()

    def _listen(self) -> None:
        ready = select.poll()
        for descriptor in (self._ear, self._called):
            ready.register(descriptor, select.POLLIN)
        while self._called not in dict(ready.poll()):
            if not (heard := os.read(self._ear, 4096)):
                with self._turn:
                    self._open = False
                    for descriptor in (self._ear, self._called, self._call):
                        os.close(descriptor)
                return
            *lines, self._begun = (self._begun + heard).split(b"\n")
            for line in lines:
                self._pass_on(json.loads(line))
        os.read(self._called, 1)

    def _pass_on(self, told: dict[str, str]) -> None:
        if reason := told.get("reason"):
            _first_words[self._uri] = reason
            log.warning("%s. The training goes on", reason)
        elif self._uri not in _closing:
            _show(f"MLflow: {told['address']}")


@contextmanager
def not_listening() -> Iterator[None]:
    """Have no thread that listens to companions within the block: a thread makes a fork unsafe."""
    stopped = [*_listeners.values()]
    for one in stopped:
        one.stop()
    try:
        yield
    finally:
        for one in stopped:
            one.start()


def _show(line: str) -> None:
    if log.isEnabledFor(logging.INFO):
        log.info("%s", line)
    else:  # in a notebook, say, where nobody has set up logging
        print(line)


def tell_no_address(uri: str) -> None:
    """Tell no address of the runs any more: a line at the end has it.

    Args:
        uri: tracking URI.
    """
    _closing.add(uri)


def first_words(uri: str) -> str:
    """What speaks against a sink since the first look of this process's companion; "" if nothing.

    Args:
        uri: tracking URI.
    """
    return _first_words.get(uri, "")


def has_companion(uri: str) -> bool:
    """Whether the companion that this process started for a store still runs."""
    child = _children.get(uri)
    return child is not None and child.poll() is None
