"""Trainings that do mischief in their process, each with what must become of its trial.

A training returns 1.0 unless it fails. What it does must stay its own: `innocent` runs beside all
others until the last process of theirs has ended.
"""

from __future__ import annotations

import asyncio
import atexit
import builtins
import ctypes
import decimal
import faulthandler
import gc
import json
import locale
import logging
import multiprocessing
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from explr import TrainingContext

KINDS: dict[str, tuple[Callable[[TrainingContext], Any], str | None]] = {}
"""Each kind of mischief by name, and the reason of its failure; None if the trial completes."""

INNOCENT = "innocent"

KEPT: list[Any] = []
"""What a training does not let go of."""


def fails(reason: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A training that fails with a reason that contains this text."""

    def register(train: Callable[..., Any]) -> Callable[..., Any]:
        KINDS[train.__name__] = train, reason
        return train

    return register


def completes(train: Callable[..., Any]) -> Callable[..., Any]:
    KINDS[train.__name__] = train, None
    return train


def train_model(ctx: TrainingContext) -> Any:
    kind, pids = ctx.hyperparameters["kind"], ctx.output_dir.parent / "pids"
    if kind == INNOCENT:
        others = ctx.hyperparameters["others"]
        while len(list(pids.glob("*"))) < others or any(map(is_alive, pids.glob("*"))):
            time.sleep(0.05)
        return 1.0
    pids.mkdir(exist_ok=True)
    (pids / str(os.getpid())).touch()
    train, _ = KINDS[kind]
    value = train(ctx)
    return 1.0 if value is None else value


def is_alive(pid: Path) -> bool:
    with suppress(ProcessLookupError):
        os.kill(int(pid.name), 0)
        return True
    return False


# Streams.


class Tee:
    def write(self, text: str) -> int:
        return len(text)


class Broken(Tee):
    def write(self, text: str) -> NoReturn:
        raise RuntimeError("nothing can be written")

    flush = write


@completes
def stdout_without_flush(ctx: TrainingContext) -> None:
    sys.stdout = Tee()  # type: ignore[assignment]


@completes
def stdout_that_raises(ctx: TrainingContext) -> None:
    sys.stdout = sys.stderr = Broken()  # type: ignore[assignment]


@completes
def stdout_closed(ctx: TrainingContext) -> None:
    sys.stdout.close()


@completes
def stderr_closed(ctx: TrainingContext) -> None:
    sys.stderr.close()


@completes
def stdin_closed(ctx: TrainingContext) -> None:
    os.close(0)


@completes
def no_streams(ctx: TrainingContext) -> None:
    sys.stdin = sys.stdout = sys.stderr = None  # type: ignore[assignment]


@completes
def stdout_to_a_closed_file(ctx: TrainingContext) -> None:
    with open(ctx.output_dir / "own.log", "w") as file:
        sys.stdout = file


@completes
def standard_descriptors_closed(ctx: TrainingContext) -> None:
    for descriptor in range(3):
        os.close(descriptor)


@completes
def stdout_into_a_full_disk(ctx: TrainingContext) -> None:
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
    with suppress(OSError):
        print("lost")


@completes
def stdout_into_a_broken_pipe(ctx: TrainingContext) -> None:
    reader, writer = os.pipe()
    os.dup2(writer, 1)
    os.close(reader)
    with suppress(OSError):
        print("lost")


@completes
def much_output(ctx: TrainingContext) -> None:
    os.set_blocking(1, False)
    for _ in range(100):
        sys.stdout.write("x" * 100_000 + "\n")


@completes
def logging_shut_down(ctx: TrainingContext) -> None:
    logging.shutdown()
    logging.disable(logging.CRITICAL)
    logging.getLogger().handlers.clear()


# Signals.


@completes
def signals_ignored(ctx: TrainingContext) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


@completes
def signals_blocked(ctx: TrainingContext) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


@completes
def alarm_left(ctx: TrainingContext) -> None:
    signal.alarm(3600)


@completes
def parent_signalled(ctx: TrainingContext) -> None:
    for number in ("INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "ALRM"):
        os.kill(os.getppid(), getattr(signal, f"SIG{number}"))


@fails("killed by signal 10")
def own_group_signalled(ctx: TrainingContext) -> None:
    os.killpg(0, signal.SIGUSR1)
    time.sleep(600)


@fails("killed by signal 9")
def killed(ctx: TrainingContext) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@fails("killed by signal 6")
def aborts(ctx: TrainingContext) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.abort()


@fails("killed by signal 11")
def segmentation_fault(ctx: TrainingContext) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.string_at(0)


@fails("the training raised KeyboardInterrupt")
def raises_keyboard_interrupt(ctx: TrainingContext) -> None:
    raise KeyboardInterrupt


# Ends.


@fails("the training called exit(0)")
def exits(ctx: TrainingContext) -> None:
    sys.exit(0)


@fails("the training called exit(no data)")
def exits_with_a_text(ctx: TrainingContext) -> None:
    sys.exit("no data")


@fails("exited with code 0")
def exits_at_once(ctx: TrainingContext) -> None:
    os._exit(0)


@completes
def exit_replaced(ctx: TrainingContext) -> None:
    os._exit = lambda code: None  # type: ignore[assignment]


@fails("the training raised CancelledError")
def cancelled(ctx: TrainingContext) -> None:
    raise asyncio.CancelledError


@fails("the training raised GeneratorExit")
def generator_exit(ctx: TrainingContext) -> None:
    raise GeneratorExit


class Nameless(BaseException):
    def __str__(self) -> str:
        raise RuntimeError


@fails("the training raised Nameless: its text cannot be shown")
def base_exception_without_text(ctx: TrainingContext) -> None:
    raise Nameless


class Locked(Exception):
    def __init__(self, text: str, lock: Any) -> None:
        super().__init__(text)
        self.lock = lock


@fails("Locked: it holds a lock")
def exception_that_cannot_be_pickled(ctx: TrainingContext) -> None:
    raise Locked("it holds a lock", threading.Lock())


@fails("StopIteration")
def stop_iteration(ctx: TrainingContext) -> None:
    next(iter(()))


@fails("ExceptionGroup: two faults")
def exception_group(ctx: TrainingContext) -> None:
    raise ExceptionGroup("two faults", [ValueError("one"), KeyError("two")])


@fails("RecursionError")
def endless_recursion(ctx: TrainingContext) -> None:
    endless_recursion(ctx)


@fails("out of memory")
def memory_error(ctx: TrainingContext) -> None:
    raise MemoryError


class Awkward:
    def __repr__(self) -> str:
        raise RuntimeError("no name")


@fails("a value of type Awkward")
def result_that_cannot_be_shown(ctx: TrainingContext) -> Awkward:
    return Awkward()


class Fatal:
    def __del__(self) -> None:
        os._exit(5)


@fails("a value of type Fatal")
def result_that_ends_the_process(ctx: TrainingContext) -> Fatal:
    return Fatal()


# Threads and exit handlers.


def sleep_on() -> NoReturn:
    while True:
        time.sleep(600)


@completes
def thread_that_never_ends(ctx: TrainingContext) -> None:
    threading.Thread(target=sleep_on).start()


@completes
def daemon_that_prints(ctx: TrainingContext) -> None:
    def talk() -> NoReturn:
        while True:
            print("still here", flush=True)

    threading.Thread(target=talk, daemon=True).start()


@completes
def thread_that_raises(ctx: TrainingContext) -> None:
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()


@completes
def hooks_that_raise(ctx: TrainingContext) -> None:
    sys.excepthook = threading.excepthook = sys.unraisablehook = lambda *_: 1 / 0  # type: ignore


@completes
def exit_handler_that_raises(ctx: TrainingContext) -> None:
    atexit.register(lambda: 1 / 0)


@completes
def exit_handler_that_never_ends(ctx: TrainingContext) -> None:
    atexit.register(sleep_on)


@completes
def exit_handler_that_exits(ctx: TrainingContext) -> None:
    atexit.register(os._exit, 3)


@completes
def no_exit_handlers(ctx: TrainingContext) -> None:
    atexit._clear()


# Processes.


@completes
def fork_that_returns(ctx: TrainingContext) -> float:
    if child := os.fork():
        os.waitpid(child, 0)
        return 1.0
    return 99.0


@completes
def fork_that_returns_later(ctx: TrainingContext) -> float:
    if os.fork():
        return 1.0
    while not (ctx.output_dir / "result.json").exists():
        time.sleep(0.01)
    return 99.0


@completes
def fork_that_raises(ctx: TrainingContext) -> None:
    if child := os.fork():
        os.waitpid(child, 0)
        return
    raise ValueError("in the child")


@completes
def fork_that_exits(ctx: TrainingContext) -> None:
    if child := os.fork():
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        return
    sys.exit(7)


@completes
def fork_that_never_ends(ctx: TrainingContext) -> None:
    if not os.fork():
        sleep_on()


@completes
def pool_left(ctx: TrainingContext) -> None:
    KEPT.append(multiprocessing.get_context("fork").Pool(2))


@completes
def subprocess_left(ctx: TrainingContext) -> None:
    subprocess.Popen(["sleep", "600"])


# Limits, folders and modules.


@fails("exited with code 1")
def no_descriptors(ctx: TrainingContext) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))


@fails("exited with code 1")
def no_file_size(ctx: TrainingContext) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


@completes
def file_mode_mask(ctx: TrainingContext) -> None:
    os.umask(0o777)


@completes
def environment_cleared(ctx: TrainingContext) -> None:
    os.environ.clear()


@completes
def working_directory_removed(ctx: TrainingContext) -> None:
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    os.rmdir(folder)


@completes
def own_folder_removed(ctx: TrainingContext) -> None:
    shutil.rmtree(ctx.output_dir)


@completes
def search_path_cleared(ctx: TrainingContext) -> None:
    sys.path.clear()
    sys.meta_path.clear()
    sys.path_hooks.clear()


@completes
def explr_removed(ctx: TrainingContext) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "explr"]:
        del sys.modules[name]


@completes
def modules_removed(ctx: TrainingContext) -> None:
    sys.modules.clear()


@fails("exited with code 1")
def open_replaced(ctx: TrainingContext) -> None:
    builtins.open = os.open = None  # type: ignore


@completes
def print_replaced(ctx: TrainingContext) -> None:
    builtins.print = None  # type: ignore[assignment]


@fails("TypeError: 'NoneType' object is not callable")
def modules_replaced(ctx: TrainingContext) -> None:
    json.dumps = pickle.dumps = None  # type: ignore


@completes
def warnings_as_errors(ctx: TrainingContext) -> None:
    warnings.simplefilter("error")


@completes
def no_collection(ctx: TrainingContext) -> None:
    gc.disable()
    gc.freeze()


@completes
def clocks_stopped(ctx: TrainingContext) -> None:
    time.time = time.monotonic = time.perf_counter = lambda: 0.0


@completes
def strict_decimals(ctx: TrainingContext) -> None:
    decimal.getcontext().traps[decimal.Inexact] = True
    with suppress(locale.Error):
        locale.setlocale(locale.LC_ALL, "")
    faulthandler.enable(open(os.devnull, "w"))  # noqa: SIM115
    traceback.print_exc = lambda *_: 1 / 0  # type: ignore[assignment]
