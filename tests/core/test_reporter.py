"""Who answers a report, and who listens to it."""

from __future__ import annotations

import logging

import pytest

from explr.core.reporter import HeardReporter, Listeners, NullReporter


class Answering:
    """A reporter that prunes at a step, and refuses one that is later still."""

    def __init__(self, heard: list[str], prune_at: int) -> None:
        self._heard = heard
        self._prune_at = prune_at
        self._prune = False

    def report(self, step: int, value: float) -> None:
        if step > self._prune_at:
            raise ZeroDivisionError
        self._heard.append(f"answered {step}")
        self._prune = step == self._prune_at

    def should_prune(self) -> bool:
        return self._prune


def test_a_report_is_answered_first_and_heard_afterwards() -> None:
    heard: list[str] = []
    listeners = Listeners[[int, float]](
        lambda step, value: heard.append(f"a {step} {value}"),
        lambda step, value: heard.append(f"b {step} {value}"),
    )
    reporter = HeardReporter(Answering(heard, 1), listeners)
    reporter.report(0, 0.5)
    assert not reporter.should_prune()
    reporter.report(1, 0.25)
    assert reporter.should_prune()
    assert heard == ["answered 0", "a 0 0.5", "b 0 0.5", "answered 1", "a 1 0.25", "b 1 0.25"]
    with pytest.raises(ZeroDivisionError):
        reporter.report(2, 0.125)
    assert len(heard) == 6  # what nobody answered is not passed on


def test_a_listener_that_fails_is_logged_once_and_dropped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heard: list[int] = []
    calls: list[int] = []

    def broken(step: int, value: float) -> None:
        calls.append(step)
        raise ZeroDivisionError("cannot draw")

    listeners = Listeners[[int, float]](broken, lambda step, value: heard.append(step))
    reporter = HeardReporter(NullReporter(), listeners)
    with caplog.at_level(logging.ERROR):
        for step in range(3):
            reporter.report(step, 1.0)
    assert heard == [0, 1, 2]
    assert calls == [0]
    (record,) = caplog.records
    assert "cannot draw" in caplog.text
    assert record.levelno == logging.ERROR
    assert not listeners.drop(broken)


def test_an_interruption_is_no_failure_of_a_listener() -> None:
    def interrupted(step: int, value: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        HeardReporter(NullReporter(), Listeners(interrupted)).report(0, 1.0)
