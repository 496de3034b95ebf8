"""Ends the process of a job as an interpreter ends: threads, exit handlers, streams.

A job's process is a fork. It must not do what is for the process that it was forked from to do at
its end, such as to remove a temporary folder.
"""

from __future__ import annotations

import atexit
import logging
import signal
import sys
import sysconfig
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import util
from pathlib import Path
from typing import Any, NoReturn

from explr.core.user_code import end_process

EXIT_S = 10.0
"""Seconds that a job's threads and exit handlers may take after its result is written."""

_recorded: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = []


@contextmanager
def recording_handlers() -> Iterator[None]:
    """Keep the exit handlers that the user's modules register within the block for the jobs.

    Each job runs them, as if it had imported the modules itself. This process does not.
    """
    register = atexit.register

    def record(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        if not _is_users(function):
            return register(function, *args, **kwargs)
        _recorded.append((function, args, kwargs))
        return function

    atexit.register = record
    try:
        yield
    finally:
        atexit.register = register


def begin_anew() -> None:
    """Drop the exit handlers that a fork has inherited; register those of a fresh process.

    `multiprocessing` does the same since Python 3.13 (python/cpython#83856). The registry of
    `weakref.finalize`, which removes temporary folders, has no public name; read in Python 3.13.
    """
    atexit._clear()
    for inherited in list(getattr(weakref.finalize, "_registry")):  # noqa: B009 - not in its stub
        inherited.atexit = False
    setattr(weakref.finalize, "_registered_with_atexit", False)  # noqa: B010 - likewise
    atexit.register(logging.shutdown)
    atexit.register(util._exit_function)  # type: ignore[attr-defined]
    for function, args, kwargs in _recorded:
        atexit.register(function, *args, **kwargs)


def leave(code: int) -> NoReturn:
    """End this process; whatever takes longer than `EXIT_S` is cut off.

    Args:
        code: the exit code.
    """
    try:
        # By default SIGALRM ends a process, also one that holds Python's lock or can start no
        # thread. The result of the job is written.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
        signal.setitimer(signal.ITIMER_REAL, EXIT_S)
        for thread in threading.enumerate():
            if not thread.daemon and thread is not threading.current_thread():
                thread.join()
        atexit._run_exitfuncs()
    except BaseException:  # noqa: BLE001 - the process ends here, whatever it was
        traceback.print_exc()
    finally:
        end_process(code)


def _is_users(function: Callable[..., Any]) -> bool:
    """Whether a function comes from neither the standard library nor an installed package."""
    file = getattr(sys.modules.get(getattr(function, "__module__", "")), "__file__", None)
    if file is None:
        return False
    installed = [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")]
    return not any(Path(file).is_relative_to(folder) for folder in installed)
