"""How a program was called: its words as they are typed in a shell, and where."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from explr.core.secrets.masking import redacted_arguments


@dataclass(frozen=True)
class Call:
    """A command, as one would type it.

    Args:
        program: the words that start the program, such as `python -m pkg.train`.
        arguments: what is typed after them.
    """

    program: Sequence[str]
    arguments: Sequence[str]

    @property
    def is_explr(self) -> bool:
        """Whether the program is explr's own command."""
        return list(self.program) == ["explr"]


def call_of(argv: Sequence[str], python: str | None = None, cwd: Path | None = None) -> Call:
    """The command that started an interpreter.

    Args:
        argv: the arguments of the interpreter, its own options included.
        python: the interpreter; None takes whichever `python` the shell finds.
        cwd: the working directory; None takes that of this process.
    """
    end = _end_of_program(argv)
    program, arguments = list(argv[:end]), list(argv[end:])
    if program[-2:] == ["-m", "explr"] or (program and Path(program[-1]).name == "explr"):
        return Call(["explr"], arguments)
    if len(program) == 1 and _is_console_script(Path(cwd or Path(), program[0])):
        return Call([_short_name(program[0])], arguments)
    return Call([_short_name(python, "python", "python3"), *program], arguments)


def this_call() -> Call:
    """The command that started this process."""
    return call_of(sys.orig_argv[1:], sys.executable)


def typed_command() -> str:
    """The command that started this process, without secrets."""
    call = this_call()
    return shlex.join([*call.program, *redacted_arguments(call.arguments)])


def starting_folder() -> Path:
    """The folder where the command of this process was typed.

    A script may change its working directory before it does anything else; the shell's variable
    tells where it was found.
    """
    cwd, shell = Path.cwd(), os.environ.get("PWD", "")
    script = next(iter(call_of(sys.orig_argv[1:]).program[1:]), "")
    if script.endswith(".py") and not (cwd / script).exists() and Path(shell, script).exists():
        return Path(shell)
    return cwd


def with_override(words: Sequence[str], override: str) -> list[str]:
    """A command with one more override, which replaces an earlier one.

    It stands beside the overrides there are: Hydra 1.3 takes them in one place only.

    Args:
        words: the command as it is typed, with the interpreter or the program as its first word.
        override: the override.
    """
    is_python = re.fullmatch(r"python[\d.]*", Path(words[0]).name)
    start = 1 + (_end_of_program(words[1:]) if is_python else 0)
    at = len(words)
    for place in range(start, len(words)):
        after = range(place + 1, len(words))
        is_last = all("-" in (words[n][:1], words[n - 1][:1]) for n in after)  # flags alone follow
        if re.match(r"[+~]{0,2}\w[\w@./:$-]*=", words[place]) and is_last:
            at = place + 1
    return [*words[:at], override, *words[at:]]


def _end_of_program(argv: Sequence[str]) -> int:
    """How many arguments of an interpreter are its own options and the name of the program."""
    at = 0
    while at < len(argv):
        word = argv[at]
        at += 1
        if word == "-" or not word.startswith("-"):
            return at
        if word.startswith("--"):
            at += word == "--check-hash-based-pycs"
            continue
        for place, letter in enumerate(word[1:], 2):  # as in -um pkg.train
            if letter in "cm":
                return at if word[place:] else at + 1
            if letter in "WX":
                at += not word[place:]
                break
    return at


def _is_console_script(path: Path) -> bool:
    """Whether a program is a file that a shell runs by its name."""
    return path.suffix != ".py" and path.is_file() and os.access(path, os.X_OK)


def _short_name(path: str | None, *names: str) -> str:
    """The name by which a shell finds a program; its path if it finds another one, or none.

    Args:
        path: the program; None takes the first of the names.
        names: what it may be called; by default as its file is.
    """
    if path is None:
        return names[0]
    folder = os.path.dirname(os.path.abspath(path))
    for name in names or (os.path.basename(path),):
        found = shutil.which(name)
        if found is not None and os.path.dirname(os.path.abspath(found)) == folder:
            return name
    return path if os.path.dirname(path) else os.path.join(".", path)


def in_folder(folder: Path, words: Sequence[str]) -> str:
    """A command for a shell that may be in another folder.

    Args:
        folder: the folder that the command has to run in.
        words: the command.
    """
    command = shlex.join(words)
    here = folder == starting_folder() or (folder.exists() and folder.samefile(Path.cwd()))
    return command if here else f"cd {shlex.quote(str(folder))} && {command}"
