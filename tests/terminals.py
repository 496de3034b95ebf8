"""Runs commands in a pseudo-terminal and reads what a user would see."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from waiting import PATIENCE_S
from zygote import Started, zygote

ROWS, COLUMNS = 40, 120

TAKE_CONTROL = """\
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Has the terminal be the session's, for Ctrl-C, and fish wants it; and becomes the command.

A program of its own: what `subprocess` has a child do before it is one, is done in a copy of this
process, which hangs where a library's thread held a lock.
"""


class Terminal:
    """Runs commands under a pseudo-terminal.

    Args:
        cwd: working directory.
        environment: variables beyond those of this process.
    """

    def __init__(self, cwd: Path, environment: Mapping[str, str]) -> None:
        self._cwd = cwd
        self._environment = dict(environment)

    def __call__(
        self,
        command: Sequence[str],
        typed: str = "",
        interrupt_at: str | None = None,
        then: Mapping[str, Callable[[], object]] | None = None,
        **environment: str,
    ) -> tuple[int, str]:
        """Run a command.

        Args:
            command: the command.
            typed: what is typed in at once.
            interrupt_at: text upon which Ctrl-C is typed, once.
            then: what is done, once, as soon as a pattern is in what was written, of which control
                characters are no part.
            environment: variables; an empty one is left out.

        Returns:
            Its exit code, and all that it wrote, control characters included.
        """
        given = {"TERM": "xterm-256color", **self._environment, **environment}
        variables = {**os.environ, **given}
        for name in ("COLUMNS", "LINES", *(n for n, text in given.items() if not text)):
            variables.pop(name, None)
        process, terminal = spawn(command, self._cwd, variables, is_whole=False)
        os.write(terminal, typed.encode())
        output, deadline = b"", time.monotonic() + 2 * PATIENCE_S
        awaited = dict(then or {})
        try:
            while True:
                assert time.monotonic() < deadline, output.decode(errors="replace")
                if not select.select([terminal], [], [], 0.2)[0]:
                    continue
                try:
                    part = os.read(terminal, 65536)
                except OSError:  # what Linux says at the end
                    break
                if not part:
                    break
                output += part
                if interrupt_at is not None and interrupt_at.encode() in output:
                    os.write(terminal, b"\x03")
                    interrupt_at = None
                seen = plain(output.decode(errors="replace")) if awaited else ""
                for pattern in [each for each in awaited if re.search(each, seen)]:
                    awaited.pop(pattern)()
        except BaseException:
            process.kill()
            raise
        finally:
            os.close(terminal)
            code = process.wait()
        return code, output.decode()


def spawn(
    command: Sequence[str], cwd: Path, environment: Mapping[str, str], is_whole: bool = True
) -> tuple[Started, int]:
    """Start a command under a terminal of its own.

    Args:
        command: the command.
        cwd: working directory.
        environment: all of its environment.
        is_whole: what it starts is its child, as `Zygote.start` has it.

    Returns:
        Its process, and the terminal's other end.
    """
    terminal, side = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    process: Started
    if zygote.can_copy(command, environment):
        process = zygote.start(command, cwd, environment, side, side, is_whole, side)
    else:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", TAKE_CONTROL, *command],
            stdin=side,
            stdout=side,
            stderr=side,
            cwd=cwd,
            env=environment,
            start_new_session=True,
        )
    os.close(side)
    return process, terminal


def plain(output: str) -> str:
    """The output without control characters."""
    return re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", output)


def text_of(output: str) -> list[str]:
    """The lines on the screen at the end, without erased ones.

    Understands what rich writes: colours, the cursor shown and hidden, a line wiped, and the
    cursor moved up or to the beginning of its line.
    """
    lines, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[[?\d;]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+", output):
        if part == "\n":
            row += 1
            if row == len(lines):
                lines.append("")
        elif part == "\r":
            column = 0
        elif part.startswith("\x1b"):
            if part == "\x1b[2K":
                lines[row] = ""
            elif part.endswith("A"):
                row -= int(part[2:-1] or 1)
        else:
            line = lines[row].ljust(column)
            lines[row] = line[:column] + part + line[column + len(part) :]
            column += len(part)
    while lines and not lines[-1].strip():
        lines.pop()
    return [line.rstrip() for line in lines]
