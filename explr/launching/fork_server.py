"""The process that jobs are forked from, and the guard over them.

It has imported the framework, so that a job starts in milliseconds. It has forked no thread and
touched no GPU. Each job leads a session of its own; when the controller is gone, killed or not,
the server ends every such session and then itself, so that no job outlives its controller.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection, wait

from explr.core.errors import ExplrError
from explr.launching.child import Child, signal_session
from explr.launching.messages import Ended, SetUp, Signal, Start, Started


class ForkServer:
    """Forks jobs on demand and tells when they end.

    Args:
        controller: connection to the controller.
        set_up: what the jobs have in common.
    """

    def __init__(self, controller: Connection, set_up: SetUp) -> None:
        self._controller = controller
        self._set_up = set_up
        self._jobs: dict[int, Child] = {}
        self._spare: Child | None = None

    def serve(self) -> None:
        """Work until the controller is gone.

        Raises:
            EOFError, ConnectionError: the controller has closed the connection, or has ended.
        """
        wake, notify = os.pipe()
        os.set_blocking(notify, False)
        os.set_blocking(wake, False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(notify, warn_on_full_buffer=False)
        try:
            if not self._prepare():
                return
            self._fork_ahead()
            while True:
                ready = wait([self._controller, wake])
                if wake in ready:
                    os.read(wake, 4096)
                self._reap()
                if self._controller in ready:
                    self._take(self._controller.recv())
        finally:
            for child in [*self._jobs.values(), *([self._spare] if self._spare else [])]:
                child.signal(signal.SIGKILL)

    def _prepare(self) -> bool:
        """Do what the jobs need not do each, and tell the controller; whether all went well."""
        for name in self._set_up.preload:
            try:
                importlib.import_module(name)
            except Exception:  # noqa: BLE001 - the job meets it again, where it can be told
                traceback.print_exc()
        try:
            self._set_up.prepare()
        except ExplrError as error:
            self._controller.send(error)
            return False
        gc.collect()
        gc.freeze()  # a collection in a job would copy every page that it looks at
        self._controller.send(_cuda_is_initialized())
        return True

    def _take(self, message: Start | Signal) -> None:
        if isinstance(message, Start):
            self._start(message)
            return
        if message.key in self._jobs:
            self._jobs[message.key].signal(message.number)

    def _start(self, job: Start) -> None:
        child, self._spare = self._spare, None
        try:
            if child is None or not child.take(job):
                child = Child(self._set_up, self._controller)
                child.take(job)  # if it is gone already, that is how the job ended
        except OSError:  # no memory or no process left; the other jobs go on
            traceback.print_exc()
            self._controller.send(Ended(job.key, 1))
            return
        self._jobs[job.key] = child
        self._controller.send(Started(job.key, child.pid))
        self._fork_ahead()

    def _fork_ahead(self) -> None:
        """Have a child wait for the job that comes next."""
        with suppress(OSError):  # it is told when a job comes and there is still no process
            self._spare = Child(self._set_up, self._controller)

    def _reap(self) -> None:
        while self._jobs or self._spare:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            if self._spare is not None and pid == self._spare.pid:
                self._spare = None
            key = next((key for key, child in self._jobs.items() if child.pid == pid), None)
            if key is None:  # a helper that an imported module started
                continue
            del self._jobs[key]
            # What the job left running in its session, DataLoader workers for one, ends with it.
            signal_session(pid, signal.SIGKILL)
            self._controller.send(Ended(key, os.waitstatus_to_exitcode(status)))


def _cuda_is_initialized() -> bool:
    """Whether an import touched the GPU, after which no fork can use it."""
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.cuda.is_initialized())


def main() -> None:
    """Serve the controller on the inherited descriptor that the first argument names."""
    # Ctrl-C reaches the whole terminal; what becomes of the jobs is the controller's to decide.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    controller = Connection(int(sys.argv[1]))
    with suppress(EOFError, ConnectionError):  # the controller is gone, and all that ran for it
        # Before anything that may have to be found on the path; a job records the command it is of.
        sys.path[:], sys.argv[:] = controller.recv()
        ForkServer(controller, controller.recv()).serve()
