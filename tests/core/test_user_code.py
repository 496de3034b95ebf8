"""What the user's code leaves behind in its process."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from explr.core.errors import ExplrError
from explr.core.signals import interrupt, interrupt_once
from explr.core.user_code import contained, failing_trial


class Tee:
    """A stream without `flush`, as people write them."""

    def write(self, text: str) -> int:
        return len(text)


@pytest.fixture
def _handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("code", [0, 7])
def test_a_forked_process_ends_with_the_block(code: int) -> None:
    with contained():
        child = os.fork()
        if not child and code:
            sys.exit(code)
    if not child:
        os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == code


def test_a_forked_process_that_raises_ends_with_its_traceback(
    capfd: pytest.CaptureFixture[str],
) -> None:
    try:
        with contained():
            child = os.fork()
            if not child:
                raise ValueError("in the child")
    except ValueError:
        os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert "ValueError: in the child" in capfd.readouterr().err


@pytest.mark.parametrize("kind", ["tee", "closed", "closed file"])
def test_a_stream_that_cannot_be_written_to_is_replaced(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = io.StringIO()
    monkeypatch.setattr(sys, "stdout", before)
    with contained():
        if kind == "tee":
            sys.stdout = Tee()  # type: ignore[assignment]
        elif kind == "closed file":
            with open(tmp_path / "log", "w") as sys.stdout:
                pass
        else:
            sys.stdout.close()
    print("seen")
    assert before.closed or before.getvalue() == "seen\n"


@pytest.mark.parametrize("own", [None, io.StringIO()])
def test_a_stream_of_the_users_that_works_stays(own: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    with contained():
        sys.stdout = own
    assert sys.stdout is own


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (SystemExit(3), "the training called exit(3)"),
        (asyncio.CancelledError("late"), "the training raised CancelledError: late"),
    ],
)
def test_whatever_ends_the_code_is_an_error(raised: BaseException, told: str) -> None:
    with pytest.raises(ExplrError) as caught, failing_trial():
        raise raised
    assert str(caught.value) == told


@pytest.mark.usefixtures("_handler")
@pytest.mark.parametrize("handler", [interrupt, interrupt_once])
def test_a_keyboard_interrupt_of_its_own_is_no_ctrl_c(handler: Any) -> None:
    signal.signal(signal.SIGINT, handler)
    with pytest.raises(ExplrError, match="the training raised KeyboardInterrupt"), failing_trial():
        raise KeyboardInterrupt
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt), failing_trial():
        raise KeyboardInterrupt
