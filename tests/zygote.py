"""Forks commands from a process that has imported what they need, in place of fresh interpreters.

An interpreter that has imported explr, Hydra and Optuna takes a second of a core; a copy of one
takes hundredths. A command is a process of its own all the same, with its own working directory,
environment, arguments, output, signals and exit code. So are the fork servers and the companions
that commands start. As a program, this file is the process that is copied; it holds no thread, and
ends with the process that started it.
"""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any

IMPORTED = (
    "explr.config.diagnosis",
    "explr.launching.fork_server",
    "explr.runner.cli.app",
    "explr.runner.cli.commands",
    "explr.runner.task",
    "explr.sweep.sweep",
    "optuna",
)
"""What commands share; what only some use and what they must not have imported is not here."""

UPLOADING = (
    "explr.tracking.mlflow.sink",
    "explr.tracking.shipping.shipper",
    "mlflow.artifacts",
    "mlflow.store.tracking.sqlalchemy_store",
)
"""What companions import besides, and commands that upload."""

SERVER, COMPANION = (
    ["-P", "-m", "explr.launching"],
    ["-P", "-m", "explr.tracking.shipping.companion"],
)
"""Command lines of what commands start, without what follows."""

READ_ONCE = (
    *("PYTHON", "LD_", "LC_", "LANG", "TZ", "TMPDIR"),
    *("COVERAGE_", "HYDRA_", "OMP_", "OPENBLAS_"),
)
"""Prefixes of variables that a process, or what it imports, reads when it starts."""

MESSAGE = 2**18
"""Bytes of the longest order; the environment is most of it."""

MOST_FILES = 8
"""How many open files an order hands over at most."""

MOST_FDS, SERVERS_FD, COMPANIONS_FD = 1000, 1022, 1023
"""Above all other files of a command: where its orders for servers and for companions go."""


class Forked:
    """A command that was started: `subprocess.Popen`, as far as tests need it."""

    def __init__(self, args: list[str], link: socket.socket) -> None:
        self.args = args
        self.returncode: int | None = None
        self.stdin: IO[bytes] | None = None
        self._link = link
        self.pid = int(link.recv(64))

    def poll(self) -> int | None:
        """The exit code; None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the exit code, which is below zero where a signal ended it.

        Raises:
            subprocess.TimeoutExpired: it runs for longer than that, in seconds.
        """
        if self.returncode is None:
            self._link.settimeout(timeout)
            try:
                self.returncode = int(self._link.recv(64))
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(self.args, timeout or 0) from None
            self._link.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


Started = Forked | subprocess.Popen[bytes]


class Zygote:
    """Starts commands; the first call starts the process that they are copies of."""

    def __init__(self) -> None:
        self._link: socket.socket | None = None
        self._uploading: socket.socket | None = None
        self._read: dict[str, str] = {}

    def start(
        self,
        command: Sequence[str | Path],
        cwd: Path,
        environment: Mapping[str, str],
        stdout: int,
        stderr: int,
        is_whole: bool = True,
        stdin: int | None = None,
    ) -> Started:
        """Start a command.

        Args:
            command: this interpreter, and `-m MODULE ARGUMENTS` or `SCRIPT ARGUMENTS`.
            cwd: working directory.
            environment: all of its environment.
            stdout: file descriptor for standard output.
            stderr: file descriptor for standard error.
            is_whole: the servers and companions that it starts are its children, and have command
                lines and environments of their own; otherwise they are copies too, which is quick.
            stdin: file descriptor of a terminal, which becomes that of the command; `can_copy`
                says whether it may be given.
        """
        command = [os.fspath(word) for word in command]
        if not self.can_copy(command, environment):
            assert stdin is None
            return subprocess.Popen(command, cwd=cwd, env=environment, stdout=stdout, stderr=stderr)
        files = {1: stdout, 2: stderr} | ({} if stdin is None else {0: stdin})
        link, uploading = self._connected()
        if command[1:4] == ["-m", "explr", "sync"] or "--register" in command:
            link, is_whole = uploading, True
        try:
            return _order(link.fileno(), command, str(cwd), environment, files, is_whole)
        except BrokenPipeError:
            self._replace()
            return self.start(command, cwd, environment, stdout, stderr, is_whole, stdin)

    def can_copy(self, command: Sequence[str], environment: Mapping[str, str]) -> bool:
        """Whether a copy does as a fresh interpreter would."""
        program, what = command[0], command[1] if len(command) > 1 else ""
        if program != sys.executable or not (what == "-m" or what.endswith(".py")):
            return False
        self._connected()
        return _read_once(environment) == self._read

    def run(
        self,
        command: Sequence[str | Path],
        cwd: Path,
        environment: Mapping[str, str],
        timeout_s: float,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, and read all that is written.

        Raises:
            subprocess.TimeoutExpired: it, or what it left behind, took too long.
        """
        deadline = time.monotonic() + timeout_s
        written = {1: b"", 2: b""}
        with selectors.DefaultSelector() as ends, ExitStack() as closing:
            given = []
            for number in written:
                end, other = os.pipe()
                closing.callback(os.close, end)
                ends.register(end, selectors.EVENT_READ, number)
                given.append(other)
            process = self.start(command, cwd, environment, *given, is_whole=False)
            for each in given:
                os.close(each)
            try:
                while ends.get_map():
                    if not (ready := ends.select(deadline - time.monotonic())):
                        raise subprocess.TimeoutExpired(command, timeout_s, *written.values())
                    for key, _ in ready:
                        part = os.read(key.fd, 2**16)
                        written[key.data] += part
                        if not part:
                            ends.unregister(key.fd)
                code = process.wait(max(deadline - time.monotonic(), 0.1))
            except BaseException:
                process.kill()
                process.wait()
                raise
        texts = [each.decode() for each in written.values()]
        return subprocess.CompletedProcess(process.args, code, *texts)

    def close(self) -> None:
        """End the processes that commands are copies of."""
        if self._link is not None:
            self._disconnect()
            self._process.communicate()

    def _replace(self) -> None:
        """Say why the process that commands are copies of has ended, and start another one."""
        said = self._process.communicate()[1].decode()
        print(f"the zygote ended with {self._process.returncode}: {said}", file=sys.stderr)
        self._disconnect()

    def _disconnect(self) -> None:
        assert self._link is not None
        assert self._uploading is not None
        self._link.close()
        self._uploading.close()
        self._link = self._uploading = None

    def _connected(self) -> tuple[socket.socket, socket.socket]:
        """Where orders go, and where those for commands that upload."""
        if self._link is None or self._uploading is None:
            self._read = _read_once(os.environ)
            self._link, theirs = _pair()
            self._uploading, other = _pair()
            with theirs, other:
                numbers = [theirs.fileno(), other.fileno()]
                self._process = subprocess.Popen(
                    [sys.executable, __file__, *map(str, numbers)],
                    pass_fds=numbers,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,  # as commands have: whether it can seek, is asked once
                    stderr=subprocess.PIPE,
                    env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # no thread would be copied
                )
        return self._link, self._uploading


zygote = Zygote()
"""One for all tests of this process."""


class Popen(subprocess.Popen[bytes]):
    """`subprocess.Popen` of commands: the servers and companions that they start are copies too."""

    def __new__(cls, args: Any, *_: Any, **options: Any) -> Any:
        """Start a copy, or leave it to `__init__`, which Python calls for an instance alone."""
        for known, link in ((SERVER, SERVERS_FD), (COMPANION, COMPANIONS_FD)):
            is_known = isinstance(args, list) and args[1 : 1 + len(known)] == known
            if is_known and _may_copy(options.get("env") or os.environ):
                return _start(link, args, **options)
        return super().__new__(cls)


def _may_copy(environment: Mapping[str, str]) -> bool:
    """Whether a fresh interpreter would read nothing else when it starts, but for its path."""
    ours, theirs = _read_once(zygote_environment), _read_once(environment)
    known = ("PYTHONPATH", "PYTHONUTF8", "PYTHONWARNINGS", "OPENBLAS_NUM_THREADS")
    other = {*ours, *theirs}.difference(known, ["HYDRA_FULL_ERROR"])  # which is read when needed
    return all(ours.get(name) == theirs.get(name) for name in other)


def _start(
    link: int,
    args: list[str],
    stdin: int,
    start_new_session: bool,
    stdout: IO[bytes] | None = None,
    stderr: IO[bytes] | None = None,
    cwd: str | Path = ".",
    env: Mapping[str, str] = os.environ,
    pass_fds: Sequence[int] = (),
) -> Forked:
    assert start_new_session
    ours, theirs = os.pipe() if stdin == subprocess.PIPE else (os.open(os.devnull, os.O_RDWR), None)
    files = {0: ours, **{each: each for each in pass_fds}}
    for number, file in ((1, stdout), (2, stderr)):
        files[number] = number if file is None else file.fileno()
    try:
        process = _order(link, args, str(Path(cwd).resolve()), env, files)
    finally:
        os.close(ours)
    if theirs is not None:
        process.stdin = os.fdopen(theirs, "wb", buffering=0)
    return process


def _order(
    link: int,
    command: list[str],
    cwd: str,
    environment: Mapping[str, str],
    files: dict[int, int],
    is_whole: bool = True,
) -> Forked:
    """Have a command started, with open files by the numbers that it finds them under."""
    order = json.dumps([command, cwd, dict(environment), [*files], is_whole]).encode()
    ours, theirs = _pair()
    with theirs, socket.socket(fileno=os.dup(link)) as there:
        try:
            socket.send_fds(there, [order], [theirs.fileno(), *files.values()])
        except BrokenPipeError:
            ours.close()
            raise
    return Forked(command, ours)


def _pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def _read_once(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in environment.items() if name.startswith(READ_ONCE)}


def _serve(orders: list[socket.socket], imported: Sequence[str] = ()) -> list[str]:
    """Fork a command for each order, and tell how each ended.

    Args:
        orders: where they come from.
        imported: names of the modules to import before the first one.

    Returns:
        In a command's process alone: its command line.

    Raises:
        SystemExit: nobody is left who could give an order.
    """
    running = selectors.DefaultSelector()
    for each in orders:
        running.register(each, selectors.EVENT_READ)
    while True:
        for key, _ in running.select():
            if key.data is not None:
                _tell_end(*key.data)
                running.unregister(key.fd)
                os.close(key.fd)
                continue
            assert isinstance(key.fileobj, socket.socket)
            order, files, _, _ = socket.recv_fds(key.fileobj, MESSAGE, MOST_FILES)
            if not order:
                sys.exit()
            for name in imported:
                importlib.import_module(name)
            if (pid := os.fork()) == 0:
                running.close()
                for each in orders:
                    each.detach()
                return _become(order, files)
            link, *output = files
            _tell(link, pid)
            for each in output:
                os.close(each)
            running.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, link))


def _tell_end(pid: int, link: int) -> None:
    _, status = os.waitpid(pid, 0)
    _tell(link, os.waitstatus_to_exitcode(status))
    os.close(link)


def _tell(link: int, number: int) -> None:
    with suppress(ConnectionError):  # a test that was ended listens no more
        os.write(link, str(number).encode())


def _become(order: bytes, files: list[int]) -> list[str]:
    command, cwd, environment, numbers, is_whole = json.loads(order)
    # Out of the way of the numbers that they are to have.
    given = [fcntl.fcntl(each, fcntl.F_DUPFD, MOST_FDS) for each in files[1:]]
    os.closerange(3, MOST_FDS)
    for each, number in zip(given, numbers, strict=True):
        os.dup2(each, number)
        os.close(each)
    if 0 in numbers and os.isatty(0):
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    if is_whole:
        os.closerange(SERVERS_FD, COMPANIONS_FD + 1)
    else:
        subprocess.Popen = Popen  # type: ignore[misc]
    return command


zygote_environment = dict(os.environ)
"""That of this process when it began: in a command, that of what it is a copy of."""


def _main(orders: socket.socket, uploading: socket.socket) -> None:
    for name in IMPORTED:
        importlib.import_module(name)
    from hydra.core.plugins import Plugins

    Plugins.instance()  # has those that are installed; a project's own are never found
    servers, companions = _pair(), _pair()
    for (ours, _), number in ((servers, SERVERS_FD), (companions, COMPANIONS_FD)):
        os.dup2(ours.fileno(), number, inheritable=False)
        ours.close()
    if os.fork() == 0:  # commands have not imported MLflow
        os.closerange(SERVERS_FD, COMPANIONS_FD + 1)
        orders.close()
        servers[1].close()
        command = _serve([companions[1], uploading], UPLOADING)
    else:
        companions[1].close()
        uploading.close()
        command = _serve([orders, servers[1]])
    sys.orig_argv = [*command]
    del sys.path[0]
    if command[1] == "-P":
        del command[1]
        above = os.environ.get("PYTHONPATH", "")
        sys.path[:0] = [each for each in above.split(os.pathsep) if each]
    elif command[1] == "-m":
        sys.path.insert(0, os.getcwd())
    else:
        sys.path.insert(0, str(Path(command[1]).resolve().parent))
    if command[1] == "-m":
        sys.argv = command[2:]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = command[1:]
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    _main(*(socket.socket(fileno=int(number)) for number in sys.argv[1:]))
