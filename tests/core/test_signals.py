"""SIGTERM as Ctrl-C, where an app has set no handler of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from explr.core.signals import Terminated, terminable


@pytest.fixture(autouse=True)
def _default() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


def test_sigterm_is_an_interruption_within_the_block() -> None:
    with pytest.raises(Terminated), terminable():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_process_that_is_forked_within_the_block_ends_by_sigterm() -> None:
    with terminable():
        child = os.fork()
        if child == 0:
            signal.raise_signal(signal.SIGTERM)
            os._exit(0)
        _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGTERM


def test_the_handler_of_an_app_stays() -> None:
    came: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    with terminable():
        signal.raise_signal(signal.SIGTERM)
    assert came == [signal.SIGTERM]
