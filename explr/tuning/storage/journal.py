"""The journal file of a study: written by one process alone, read by any."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explr.core.errors import ExplrError, UsageError
from explr.core.folders import replace_file
from explr.tuning.optuna_private import CREATE_STUDY, journal_storage

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

log = logging.getLogger(__name__)

STUDY_FILE = "study.journal"
"""File of the study in the sweep's folder."""


def sole_writer(path: Path) -> BaseStorage:
    """Optuna's journal file without its lock and fsync, which are half of a trial's overhead.

    The sweep's lock keeps other writers out. Written lines survive a kill of the process, and after
    `Study.flush` a power cut too. It may cut off later ones; `repair` removes a torn one.
    """
    from optuna.storages.journal import JournalFileBackend

    lines = OwnLines(path)

    class SoleWriter(JournalFileBackend):
        read_logs = lines.read

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            written = [json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in logs]
            # Not "ab": if the sweep's folder was deleted, no new study is created.
            with open(path, "r+b", buffering=0) as file:
                whole = file.seek(0, os.SEEK_END)
                left = memoryview(b"".join(written))
                try:
                    while left:  # a full disk may accept only a part
                        left = left[file.write(left) :]
                except OSError as error:
                    file.truncate(whole)
                    raise cannot_write(path, error) from error
            lines.wrote(written)

    with suppress(FileExistsError):  # Optuna would make a file that others may read
        path.touch(mode=0o600, exist_ok=False)
    return journal_storage(SoleWriter(str(path)), lines)


def read_only(path: Path) -> BaseStorage:
    """The storage of a journal that another process may write to.

    Raises:
        FileNotFoundError: there is none; Optuna would make one.
    """
    from optuna.storages.journal import JournalFileBackend

    if not path.exists():
        raise FileNotFoundError(path)
    lines = JournalLines(path)

    class ReadOnly(JournalFileBackend):
        read_logs = lines.read

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            raise UsageError(f"{path} belongs to its sweep, and is opened read-only here")

    return journal_storage(ReadOnly(str(path)), lines)


def begins_a_study(path: Path) -> bool:
    """Whether a journal has the line that creates its study."""
    try:
        with path.open("rb") as file:
            return bool(json.loads(file.readline())["op_code"] == CREATE_STUDY)
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return False


def repair(path: Path) -> None:
    """Remove a last line that a kill or a full disk left torn, and keep a copy of the file.

    Optuna cannot read a journal with a torn line.
    """
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    while whole:
        start = whole.rfind(b"\n", 0, -1) + 1
        try:
            json.loads(whole[start:])
            break
        except ValueError:
            whole = whole[:start]
    if len(whole) < len(content):
        backup = path.with_name(f"{path.name}.torn")
        shutil.copyfile(path, backup)
        replace_file(path, whole, private=False)
        lost = len(content) - len(whole)
        log.warning("%s ended in a torn line: %d bytes cut, kept in %s", path, lost, backup.name)


def cannot_write(path: Path, error: OSError) -> ExplrError:
    """An error that says why a file of a sweep cannot be written."""
    if error.errno == errno.ENOSPC:
        return ExplrError(f"no space left at {path}")
    return ExplrError(f"{path} cannot be written: {error.strerror or error}")


class JournalLines:
    """Reads an Optuna journal, which may grow meanwhile, many lines at a time.

    Optuna keeps the position of each line, which makes millions of objects.

    Args:
        path: the journal.
    """

    AT_ONCE_BYTES = 1 << 20

    def __init__(self, path: Path) -> None:
        self._path = path
        # Number and position of the line after those that were read last, and of their first one:
        # who failed at an operation did not take all that was read.
        self._marks = [(0, 0), (0, 0)]

    def __iter__(self) -> Iterator[bytes]:
        """All lines, without a last one that is not complete."""
        return chain.from_iterable(self._read(0))

    def read(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """See `JournalFileBackend.read_logs`.

        Raises:
            ValueError: a line is damaged.
        """
        for lines in self._read(log_number_from):
            for line in lines:
                yield json.loads(line)

    def _read(self, number_from: int) -> Iterator[list[bytes]]:
        """Complete lines from a line number on."""
        marks = (mark for mark in (*self._marks, (0, 0)) if mark[0] <= number_from)
        number, position = next(marks)
        with self._path.open("rb") as file:
            file.seek(position)
            whole = True
            while whole and (lines := file.readlines(self.AT_ONCE_BYTES)):
                whole = lines[-1].endswith(b"\n")
                if not whole:  # it is being written, or its writer was killed
                    lines.pop()
                begin = (number, position)
                number, position = number + len(lines), position + sum(map(len, lines))
                self._marks = [(number, position), begin]
                yield lines[max(0, number_from - begin[0]) :]


class OwnLines(JournalLines):
    """Reads an Optuna journal that only this process writes to.

    Optuna reads each line that it has written, and asks for more some ten times a trial.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._own: list[bytes] = []
        """The lines after the first mark."""

    def wrote(self, lines: Iterable[bytes]) -> None:
        """Take in lines that were just written."""
        self._own += lines

    def read(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """See `JournalLines.read`; lines of this process are not read from the file."""
        number, position = self._marks[0]
        if log_number_from < number:
            yield from super().read(log_number_from)
            return
        taken = self._own[: log_number_from - number]
        del self._own[: len(taken)]
        self._marks[0] = number + len(taken), position + sum(map(len, taken))
        for line in tuple(self._own):
            yield json.loads(line)

    def _read(self, number_from: int) -> Iterator[list[bytes]]:
        self._own.clear()
        return super()._read(number_from)
