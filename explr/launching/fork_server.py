"""The process that jobs are forked from, and the guard over them.

It has imported the framework, so that a job starts in milliseconds. It has forked no thread and
touched no GPU. Each job leads a session of its own; when the controller is gone, killed or not,
the server ends every such session and then itself, so that no job outlives its controller.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import cloudpickle

from explr.core.errors import ExplrError
from explr.utils.signals import interrupt

PR_SET_PDEATHSIG = 1
"""From `linux/prctl.h`: the signal that a process gets when its parent ends."""


@dataclass(frozen=True)
class SetUp:
    """What the server needs once.

    Args:
        preload: modules to import; one that is not there is left to the job to complain about.
        prepare: called in the server after that; an `ExplrError` that it raises is the answer.
        run: called in the job's process with each job's argument; its return value comes back.
    """

    preload: list[str]
    prepare: Callable[[], None]
    run: Callable[[Any], Any]


@dataclass(frozen=True)
class Start:
    """One job.

    Args:
        key: names the job between server and controller.
        argument: what `run` is called with, pickled.
        environment: variables to set before anything else happens in the job.
        output: file that its standard output and error are appended to; None keeps them.
        answer: file that its pickled return value, or the exception it raised, is written to.
    """

    key: int
    argument: bytes
    environment: dict[str, str]
    output: str | None
    answer: str


@dataclass(frozen=True)
class Signal:
    """A signal for the session of a job."""

    key: int
    number: int


@dataclass(frozen=True)
class Started:
    """A job's process is there, and leads the session `pid`."""

    key: int
    pid: int


@dataclass(frozen=True)
class Ended:
    """A job's process is gone.

    Args:
        key: the job.
        code: its exit code; negative is the signal that killed it.
    """

    key: int
    code: int


class ForkServer:
    """Forks jobs on demand and tells when they end.

    Args:
        controller: connection to the controller.
    """

    def __init__(self, controller: Connection) -> None:
        self._controller = controller
        self._keys: dict[int, int] = {}
        self._run: Callable[[Any], Any] = _nothing

    def serve(self) -> None:
        """Work until the controller closes the connection or is gone."""
        wake, notify = os.pipe()
        os.set_blocking(notify, False)
        os.set_blocking(wake, False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(notify, warn_on_full_buffer=False)
        try:
            while True:
                ready = wait([self._controller, wake])
                if wake in ready:
                    os.read(wake, 4096)
                self._reap()
                if self._controller in ready:
                    self._take(self._controller.recv())
        except (EOFError, ConnectionResetError, BrokenPipeError):
            pass  # the controller is gone; whatever runs for it goes too
        finally:
            for pid in self._keys:
                signal_session(pid, signal.SIGKILL)

    def _take(self, message: SetUp | Start | Signal) -> None:
        if isinstance(message, SetUp):
            for name in message.preload:
                try:
                    importlib.import_module(name)
                except Exception:  # noqa: BLE001 - the job meets it again, where it can be told
                    traceback.print_exc()
            try:
                message.prepare()
            except ExplrError as error:
                self._controller.send(error)
                return
            self._run = message.run
            gc.collect()
            gc.freeze()  # a collection in a job would copy every page that it looks at
            self._controller.send(_cuda_is_initialized())
        elif isinstance(message, Start):
            server = os.getpid()
            try:
                pid = os.fork()
            except OSError:  # no memory or no process left; the other jobs go on
                traceback.print_exc()
                self._controller.send(Ended(message.key, 1))
                return
            if pid == 0:
                self._become(message, server)
            self._keys[pid] = message.key
            self._controller.send(Started(message.key, pid))
        else:
            for pid, key in self._keys.items():
                if key == message.key:
                    signal_session(pid, message.number)

    def _reap(self) -> None:
        while self._keys:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            key = self._keys.pop(pid, None)
            if key is None:  # a helper that an imported module started
                continue
            # What the job left running in its session, DataLoader workers for one, ends with it.
            signal_session(pid, signal.SIGKILL)
            self._controller.send(Ended(key, os.waitstatus_to_exitcode(status)))

    def _become(self, job: Start, server: int) -> None:
        """Be the job, in the forked process; never returns."""
        code = 1
        try:
            os.setsid()
            _die_with(server)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, interrupt)
            self._controller.close()
            os.environ.update(job.environment)
            if job.output is not None:
                _redirect(job.output)
            code = _answer(self._run, pickle.loads(job.argument), Path(job.answer))
        except BaseException:  # noqa: BLE001 - the process ends here, whatever it was
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


def _answer(run: Callable[[Any], Any], argument: Any, file: Path) -> int:
    """Run the job and write down what came of it; the exit code tells which of both."""
    value, failure = None, None
    try:
        value = run(argument)
    except BaseException as error:  # noqa: BLE001 - it is the job's answer
        failure = error
        if not isinstance(error, Exception):
            traceback.print_exc()
    try:
        content = cloudpickle.dumps((value, failure))
        pickle.loads(content)  # many an exception pickles, and cannot be made again
    except Exception as error:  # noqa: BLE001 - it is told
        if failure is not None:
            text = f"{type(failure).__name__}: {failure}"
        else:
            text = f"what the job returned cannot be sent: {type(error).__name__}: {error}"
        failure = ExplrError(text)
        content = pickle.dumps((None, failure))
    aside = file.with_suffix(".writing")
    aside.write_bytes(content)
    aside.replace(file)
    return 0 if failure is None else 1


def _nothing(argument: Any) -> None:
    """Stand in until the set-up has come."""


def _cuda_is_initialized() -> bool:
    """Whether an import touched the GPU, after which no fork can use it."""
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.cuda.is_initialized())


def signal_session(pid: int, number: int) -> None:
    """Send a signal to every process of a job, if any is left."""
    with suppress(ProcessLookupError):
        os.killpg(pid, number)


def _die_with(server: int) -> None:
    """Have the kernel end this process when the server ends, however it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:  # it ended before that was said
        os._exit(1)


def _redirect(output: str) -> None:
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def main() -> None:
    """Serve the controller on the inherited descriptor that the first argument names."""
    # Ctrl-C reaches the whole terminal; what becomes of the jobs is the controller's to decide.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    controller = Connection(int(sys.argv[1]))
    # Before anything that may have to be found on the path; a job records the command it is of.
    sys.path[:], sys.argv[:] = controller.recv()
    ForkServer(controller).serve()
