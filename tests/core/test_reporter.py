"""Who answers a report, and who listens to it."""

from __future__ import annotations

import logging
import pickle
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from explr.core.reporter import (
    MAX_STEP,
    HeardReporter,
    Listeners,
    NullReporter,
    RepeatedSteps,
    whole_step,
)


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


def test_listeners_stay_in_their_process() -> None:
    reporter = HeardReporter(NullReporter(), Listeners(lambda step, value: None))
    pickle.loads(pickle.dumps(reporter)).report(0, 1.0)


@pytest.mark.parametrize(
    "step", [3, 3.0, np.int64(3), np.float64(3), np.float32(3), np.array(3), np.array([3.0])]
)
def test_a_step_may_be_of_any_type(step: Any) -> None:
    assert (whole_step(step), type(whole_step(step))) == (3, int)


@pytest.mark.parametrize(
    "step",
    [2.5, np.float64(2.5), "3", b"3", None, float("nan"), float("inf"), [3, 4], Decimal("0.5")],
)
def test_a_step_is_a_whole_number(step: Any) -> None:
    with pytest.raises(TypeError, match="step must be a whole number, got "):
        whole_step(step)


def test_a_step_whose_library_raises_another_error() -> None:
    class FloatTensor:
        """As TensorFlow has it."""

        def __index__(self) -> int:
            raise AttributeError("'numpy.float32' object has no attribute '__index__'")

        def __float__(self) -> float:
            return 3.0

    assert whole_step(FloatTensor()) == 3


def test_what_cannot_be_read_reaches_nobody_and_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heard: list[str] = []
    reporter = HeardReporter(Answering(heard, 9), Listeners[[int, float]]())
    given: list[tuple[Any, Any]] = [(0, None), (1, [1.0, 2.0]), (-1, 0.5), (2.5, 0.5), ("3", 0.5)]
    for step, value in given:
        reporter.report(step, value)
    assert heard == []
    assert [record.getMessage() for record in caplog.records] == [
        "the tuner gets no report of the objective at step 0: NoneType None is not a number. "
        "This warning is shown once"
    ]
    reporter.report(np.float64(4), np.ones((1, 1)))
    assert heard == ["answered 4"]


def test_where_steps_begin_and_end() -> None:
    assert [whole_step(-1), whole_step(0, least=0), whole_step(MAX_STEP)] == [-1, 0, MAX_STEP]
    with pytest.raises(ValueError, match="step must be 0 or more, got -1: count from 0"):
        whole_step(-1.0, least=0)
    for step in (MAX_STEP + 1, -MAX_STEP - 1, 1e300):
        with pytest.raises(ValueError, match="step must fit into 64 bits"):
            whole_step(step)


def test_repeated_steps_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    steps = RepeatedSteps()
    for job in (1, 2):
        for step in (0, 1, 1):  # the same value again loses nothing
            steps.reported(step, 0.5, job, f"trial {job}")
    steps.begin(1)
    steps.reported(0, 0.25, 1, "trial 1")  # another attempt
    assert caplog.records == []
    for _ in range(2):
        steps.reported(1, 0.25, 2, "trial 2")
    (record,) = caplog.records
    assert record.getMessage() == (
        "trial 2 has reported step 1 twice, with 0.5 and 0.25: only the first value of a step "
        "counts for pruning. Let the step run on where the epochs start over, as in "
        "cross-validation (step = fold * epochs + epoch), or name the metric after the fold "
        "(val_loss_fold1). This warning is shown once"
    )
