"""Forks commands from a process that has imported what they need, in place of fresh interpreters.

An interpreter that has imported explr, Hydra and Optuna takes a second of a core; a copy of one
takes hundredths. A command is a process of its own all the same, with its own working directory,
environment, arguments, output, signals and exit code. As a program, this file is the process that
is copied; it holds no thread, and ends with the process that started it.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

IMPORTED = (
    "explr.config.diagnosis",
    "explr.runner.cli.app",
    "explr.runner.cli.commands",
    "explr.runner.task",
    "explr.sweep.sweep",
    "optuna",
)
"""What commands share; what only some use and what they must not have imported is not here."""

READ_ONCE = (
    *("PYTHON", "LD_", "LC_", "LANG", "TZ", "TMPDIR"),
    *("COVERAGE_", "HYDRA_", "OMP_", "OPENBLAS_"),
)
"""Prefixes of variables that a process, or what it imports, reads when it starts."""

MESSAGE = 2**18
"""Bytes of the longest order; the environment is most of it."""


class Forked:
    """A command that was started: `subprocess.Popen`, as far as tests need it."""

    def __init__(self, args: list[str], link: socket.socket) -> None:
        self.args = args
        self.returncode: int | None = None
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
        self._read: dict[str, str] = {}

    def start(
        self,
        command: Sequence[str | Path],
        cwd: Path,
        environment: Mapping[str, str],
        stdout: int,
        stderr: int,
    ) -> Started:
        """Start a command.

        Args:
            command: this interpreter, and `-m MODULE ARGUMENTS` or `SCRIPT ARGUMENTS`.
            cwd: working directory.
            environment: all of its environment.
            stdout: file descriptor for standard output.
            stderr: file descriptor for standard error.
        """
        link, command = self._connected(), [os.fspath(word) for word in command]
        script = command[1] == "-m" or command[1].endswith(".py")
        if command[0] != sys.executable or not script or _read_once(environment) != self._read:
            return subprocess.Popen(command, cwd=cwd, env=environment, stdout=stdout, stderr=stderr)
        order = json.dumps([command, str(cwd), dict(environment)]).encode()
        ours, theirs = _pair()
        with theirs:
            try:
                socket.send_fds(link, [order], [theirs.fileno(), stdout, stderr])
            except BrokenPipeError:
                ours.close()
                self._replace()
                return self.start(command, cwd, environment, stdout, stderr)
        return Forked(list(command), ours)

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
            process = self.start(command, cwd, environment, *given)
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
        """End the process that commands are copies of."""
        if self._link is not None:
            self._link.close()
            self._process.communicate()

    def _replace(self) -> None:
        """Say why the process that commands are copies of has ended, and start another one."""
        said = self._process.communicate()[1].decode()
        print(f"the zygote ended with {self._process.returncode}: {said}", file=sys.stderr)
        assert self._link is not None
        self._link.close()
        self._link = None

    def _connected(self) -> socket.socket:
        if self._link is None:
            self._read = _read_once(os.environ)
            self._link, theirs = _pair()
            with theirs:
                number = theirs.fileno()
                self._process = subprocess.Popen(
                    [sys.executable, __file__, str(number)],
                    pass_fds=[number],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,  # as commands have: whether it can seek, is asked once
                    stderr=subprocess.PIPE,
                    env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # no thread would be copied
                )
        return self._link


zygote = Zygote()
"""One for all tests of this process."""


def _pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def _read_once(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in environment.items() if name.startswith(READ_ONCE)}


def _serve(orders: socket.socket) -> list[str]:
    """Fork a command for each order, and tell how each ended.

    Returns:
        In a command's process alone: its command line.

    Raises:
        SystemExit: nobody is left who could give an order.
    """
    running = selectors.DefaultSelector()
    running.register(orders, selectors.EVENT_READ)
    while True:
        for key, _ in running.select():
            if key.data is not None:
                _tell_end(*key.data)
                running.unregister(key.fd)
                os.close(key.fd)
                continue
            order, files, _, _ = socket.recv_fds(orders, MESSAGE, 3)
            if not order:
                sys.exit()
            if (pid := os.fork()) == 0:
                running.close()
                orders.detach()
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
    command, cwd, environment = json.loads(order)
    os.dup2(files[1], 1)
    os.dup2(files[2], 2)
    os.closerange(3, max(files) + 2**10)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    return command


if __name__ == "__main__":
    for name in IMPORTED:
        importlib.import_module(name)
    from hydra.core.plugins import Plugins

    Plugins.instance()  # has those that are installed; a project's own are never found
    sys.orig_argv = _serve(socket.socket(fileno=int(sys.argv[1])))
    if sys.orig_argv[1] == "-m":
        sys.argv, sys.path[0] = sys.orig_argv[2:], os.getcwd()
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = sys.orig_argv[1:], str(Path(sys.orig_argv[1]).resolve().parent)
        runpy.run_path(sys.argv[0], run_name="__main__")
