"""The process that jobs are forked from, which also stops them.

It has imported the framework, so a job starts in milliseconds. It has started no thread and used
no GPU. Each job has its own session. When a controller ends in any way, the server kills its jobs'
sessions, so no job outlives its controller. The server ends with its last controller.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import socket
import sys
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection, wait

from explr.core.errors import ExplrError
from explr.core.framework import frameworks
from explr.launching.child import IGNORED, Child, signal_session
from explr.launching.exit import recording_handlers
from explr.launching.messages import Ended, SetUp, Signal, Start, Started, same_user
from explr.utils.environment import environment
from explr.utils.gc import postpone_collection, resume_collection

CAREFUL = {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
"""What is set while modules are imported: PyTorch asks the driver's management library whether
there is a GPU. Otherwise the question alone starts CUDA, which then works in no forked process."""


class ForkServer:
    """Forks jobs on demand and reports when they end.

    Args:
        controller: connection to the controller that started this process.
        set_up: what the jobs have in common.
        door: listening socket for other controllers; None if there are none.
    """

    def __init__(
        self, controller: Connection, set_up: SetUp, door: socket.socket | None = None
    ) -> None:
        self._controllers = [controller]
        self._set_up = set_up
        self._door = door
        self._jobs: dict[tuple[Connection, int], Child] = {}
        self._spare: Child | None = None
        self._used_gpu = False
        self._wake, self._notify = os.pipe()

    def serve(self) -> None:
        """Work until all controllers are gone."""
        os.set_blocking(self._notify, False)
        os.set_blocking(self._wake, False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self._notify, warn_on_full_buffer=False)
        try:
            if not self._prepare():
                return
            self._fork_ahead()
            door = [self._door] if self._door else []
            while self._controllers:
                ready = wait([*self._controllers, self._wake, *door])
                if self._wake in ready:
                    os.read(self._wake, 4096)
                self._reap()
                if self._door in ready:
                    self._admit()
                for controller in [one for one in self._controllers if one in ready]:
                    self._serve(controller)
        finally:
            children = [*self._jobs.values(), *([self._spare] if self._spare else [])]
            for child in children:
                child.signal(signal.SIGKILL)
            for child in children:  # otherwise the controller ended regularly
                os.waitpid(child.pid, 0)

    def _prepare(self) -> bool:
        """Do what the jobs need not do each, and tell the controller; whether all went well."""
        (controller,) = self._controllers
        for name in self._set_up.preload:
            try:
                with environment(CAREFUL), recording_handlers():
                    importlib.import_module(name)
            except Exception:  # noqa: BLE001 - the job raises it again, where it is reported
                traceback.print_exc()
        try:
            with recording_handlers():
                self._set_up.prepare()
        except ExplrError as error:
            _tell(controller, error)
            return False
        gc.collect()
        resume_collection()  # a collection in a job would copy every page that it visits
        self._used_gpu = any(framework.has_used_gpu() for framework in frameworks())
        _tell(controller, self._used_gpu)
        return True

    def _admit(self) -> None:
        """Take in another controller of the same user."""
        assert self._door is not None
        peer, _ = self._door.accept()
        with peer:
            if not same_user(peer):
                return
            controller = Connection(peer.detach())
        self._controllers.append(controller)
        _tell(controller, self._used_gpu)

    def _serve(self, controller: Connection) -> None:
        """Take one message of a controller's; one that is gone takes its jobs with it."""
        try:
            message = controller.recv()
        except (EOFError, ConnectionError):
            self._controllers.remove(controller)
            controller.close()
            for (owner, _), child in self._jobs.items():
                if owner is controller:
                    child.signal(signal.SIGKILL)
            return
        if isinstance(message, Start):
            self._start(controller, message)
            return
        assert isinstance(message, Signal)
        if (controller, message.key) in self._jobs:
            self._jobs[controller, message.key].signal(message.number)

    def _start(self, controller: Connection, job: Start) -> None:
        child, self._spare = self._spare, None
        try:
            if child is None or not child.take(job):
                child = Child(self._set_up, self._close)
                child.take(job)  # if the child is dead, the job ends with its exit code
        except OSError:  # no memory or no process left; the other jobs continue
            traceback.print_exc()
            _tell(controller, Ended(job.key, 1))
            return
        self._jobs[controller, job.key] = child
        _tell(controller, Started(job.key, child.pid))
        self._fork_ahead()

    def _fork_ahead(self) -> None:
        """Have a child wait for the job that comes next."""
        with suppress(OSError):  # reported when a job comes and there is still no process
            self._spare = Child(self._set_up, self._close)

    def _close(self) -> None:
        """Close in a job's process what is the server's alone."""
        for controller in self._controllers:
            controller.close()
        if self._door is not None:
            self._door.close()
        signal.set_wakeup_fd(-1)
        os.close(self._wake)
        os.close(self._notify)

    def _reap(self) -> None:
        while self._jobs or self._spare:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            if self._spare is not None and pid == self._spare.pid:
                self._spare = None
            job = next((job for job, child in self._jobs.items() if child.pid == pid), None)
            if job is None:  # a helper that an imported module started
                continue
            del self._jobs[job]
            # Processes in the session of the job, such as DataLoader workers, end with it.
            signal_session(pid, signal.SIGKILL)
            controller, key = job
            _tell(controller, Ended(key, os.waitstatus_to_exitcode(status)))


def _tell(controller: Connection, message: object) -> None:
    """Send a message; that a controller is gone is seen when its next one does not come."""
    with suppress(OSError):
        controller.send(message)


def main() -> None:
    """Serve the controller on the inherited descriptor that the first argument names.

    A second argument names the socket for other controllers. Then the server detaches from its
    parent, because Ray, for example, kills the children of an actor together with it.
    """
    if sys.argv[2:] and os.fork():
        os._exit(0)
    postpone_collection()  # until all is imported
    # Ctrl-C reaches the whole terminal, and a job may signal its parent; the controller decides
    # which jobs stop.
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    controller = Connection(int(sys.argv[1]))
    door = socket.socket(fileno=int(sys.argv[2])) if sys.argv[2:] else None
    try:
        # Before anything is imported from the path; a job records the command of its sweep.
        sys.path[:], sys.argv[:] = controller.recv()
        set_up = controller.recv()
    except (EOFError, ConnectionError):  # the controller is gone already
        return
    ForkServer(controller, set_up, door).serve()
