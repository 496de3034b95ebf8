"""Who is heard on the console."""

from __future__ import annotations

import io
import logging
import os
import pty
import sys
from collections.abc import Iterator

import pytest

from explr.utils import console
from explr.utils.console import ConsoleFilter, Verbosity, count_as_own, escape_unprintable


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(console, "_own", {"explr"})
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    yield
    console.set_verbosity(Verbosity.NORMAL)


USER, LIBRARY = "/home/me/train.py", "/venv/lib/python3.11/site-packages/noisy/core.py"


def heard(name: str, path: str) -> list[str]:
    """The levels of which a record is shown."""
    levels = [logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR]
    records = [logging.LogRecord(name, level, path, 1, "text", (), None) for level in levels]
    return [record.levelname for record in records if ConsoleFilter().filter(record)]


@pytest.mark.parametrize(
    ("verbosity", "own", "librarys"),
    [
        (Verbosity.QUIET, ["WARNING", "ERROR"], ["ERROR"]),
        (Verbosity.NORMAL, ["INFO", "WARNING", "ERROR"], ["ERROR"]),
        (Verbosity.VERBOSE, ["DEBUG", "INFO", "WARNING", "ERROR"],
         ["DEBUG", "INFO", "WARNING", "ERROR"]),
    ],
)  # fmt: skip
def test_of_libraries_only_errors_are_heard_unless_more_is_wanted(
    verbosity: Verbosity, own: list[str], librarys: list[str]
) -> None:
    console.set_verbosity(verbosity)
    assert heard("train", USER) == own
    assert heard("explr.sweep", LIBRARY) == own
    assert heard("noisy.core", LIBRARY) == librarys
    assert heard("asyncio", logging.__file__) == librarys
    assert logging.getLogger("explr.sweep").isEnabledFor(logging.DEBUG) is (
        verbosity is Verbosity.VERBOSE
    )


@pytest.mark.parametrize(
    ("encoding", "errors", "printed"),
    [
        ("ascii", "strict", "\\xfc \\udcff"),
        ("ascii", "surrogateescape", "\\xfc \\udcff"),
        ("ascii", "replace", "? ?"),  # the user's own choice
        ("latin-1", "strict", "\xfc \\udcff"),
        ("utf-8", "strict", "\xfc \\udcff"),
    ],
)
def test_what_an_encoding_lacks_is_escaped(
    monkeypatch: pytest.MonkeyPatch, encoding: str, errors: str, printed: str
) -> None:
    outputs = [io.BytesIO() for _ in range(2)]
    out, log = (io.TextIOWrapper(each, encoding, errors) for each in outputs)
    monkeypatch.setattr(sys, "stdout", out)
    handler = logging.StreamHandler(log)
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler, logging.NullHandler()])
    escape_unprintable()
    print("\xfc \udcff", end="", flush=True)
    handler.emit(logging.makeLogRecord({"msg": "\xfc \udcff"}))
    assert [each.getvalue().decode(encoding).strip() for each in outputs] == [printed] * 2


class Installed:
    def __call__(self, ctx: object) -> float:
        return 0.0


Installed.__module__ = "noisy.training"


def test_a_training_that_is_installed_as_a_library_is_heard() -> None:
    assert heard("noisy.core", LIBRARY) == ["ERROR"]
    count_as_own(Installed())
    assert heard("noisy.core", LIBRARY) == ["INFO", "WARNING", "ERROR"]


def test_what_is_written_to_a_terminal_that_was_closed_is_discarded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other, side = pty.openpty()
    stream = open(side, "w", buffering=1)  # noqa: SIM115 - it is taken apart
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "__stdout__", stream)
    console.outlive_readers()
    print("hello")
    assert os.read(other, 99) == b"hello\r\n"
    os.close(other)
    for _ in range(3):
        print("more")
        sys.stdout.flush()
    sys.stdout.close()
