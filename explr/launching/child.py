"""The process of one job, forked and warmed up in advance.

A child writes to the memory that every job writes to, so that it is copied before the job comes.
Then it waits for its job on a pipe.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from explr.core.errors import ExplrError, described
from explr.core.folders import replace_file
from explr.core.signals import end_with, interrupt_once
from explr.core.user_code import end_process
from explr.launching.exit import begin_anew, leave
from explr.launching.messages import SetUp, Start
from explr.launching.pickles import dumps
from explr.utils.seed import seed_apart

STOPPING = (signal.SIGTERM, signal.SIGINT)
"""Signals that a job takes as Ctrl-C."""

IGNORED = (*STOPPING, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM)
"""Signals that the server ignores."""


class Child:
    """The server's handle of a process that waits for a job, or runs one.

    Args:
        set_up: says how it warms up and runs a job.
        close: closes inherited descriptors that it must not keep open.

    Raises:
        OSError: no memory or no process is left.
    """

    def __init__(self, set_up: SetUp, close: Callable[[], None]) -> None:
        server = os.getpid()
        theirs, self._pipe = Pipe(duplex=False)
        # A signal that arrives before the job starts is kept until then.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        try:
            self.pid = os.fork()
            if self.pid == 0:
                self._pipe.close()
                close()
                _live(set_up, theirs, server)
        except OSError:
            self._pipe.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
            theirs.close()

    def take(self, job: Start) -> bool:
        """Give it its job, the first and only one; whether it was there to take it."""
        try:
            self._pipe.send(job)
        except BrokenPipeError:  # it was killed while it waited
            return False
        finally:
            self._pipe.close()
        return True

    def signal(self, number: int) -> None:
        """Send it a signal, and all that it has started; it must not have been reaped."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:  # it was just forked and has no session yet
            os.kill(self.pid, number)
        except PermissionError:  # it has become another user
            traceback.print_exc()


def signal_session(pid: int, number: int) -> None:
    """Send a signal to every process of a job, if any is left that may be signalled."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _live(set_up: SetUp, pipe: Connection, server: int) -> None:
    """Wait for a job and be it, in the forked process; never returns."""
    code = 1
    try:
        os.setsid()
        end_with(server)
        for number in (*IGNORED, signal.SIGCHLD):  # what the job starts would ignore them too
            signal.signal(number, interrupt_once if number in STOPPING else signal.SIG_DFL)
        begin_anew()
        with suppress(Exception):  # the job raises it again, where it is reported
            set_up.warm_up()
        seed_apart()
        job: Start = pipe.recv()
        pipe.close()
        os.environ.update(job.environment)
        if job.output is not None:
            _redirect(job.output)
        code = _answer(set_up.run, pickle.loads(job.argument), Path(job.answer))
        leave(code)
    except EOFError:  # the server closed the pipe: there is no job
        code = 0
    except BaseException:  # noqa: BLE001 - the process ends here, whatever it was
        traceback.print_exc()
    finally:
        end_process(code)


def _answer(run: Callable[[Any], Any], argument: Any, file: Path) -> int:
    """Run the job and write down what came of it; the exit code tells which of both."""
    value, failure = None, None
    modules = dict(sys.modules)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
        value = run(argument)
    except BaseException as error:  # noqa: BLE001 - it is the job's answer
        failure = error
        if not isinstance(error, Exception):
            traceback.print_exc()
    # A class of a module that the job has removed would be another one for who reads the answer.
    sys.modules.update({name: modules[name] for name in modules.keys() - sys.modules.keys()})
    try:
        content = dumps((value, failure))
        pickle.loads(content)  # some objects pickle but do not unpickle
    except Exception as error:  # noqa: BLE001 - it is reported
        failure = ExplrError(f"what the job returned cannot be sent: {described(error)}")
        content = dumps((None, failure))
    replace_file(file, content)
    return 0 if failure is None else 1


def _redirect(output: str) -> None:
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
