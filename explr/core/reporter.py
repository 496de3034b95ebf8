"""Intermediate values of the objective: who answers them, and who listens to them."""

from __future__ import annotations

import logging
import operator
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, ParamSpec, Protocol

from explr.core.numbers import described, one_number

log = logging.getLogger("explr")

MAX_STEP = 2**63 - 1
"""The largest step that fits into a database."""

MOST_STEPS = 100_000
"""Number of steps of a job that are remembered, to notice one that is reported twice."""


BY_NAME: Any = ...
"""In place of a step: it is among the arguments by name, after which no metric is called `step`."""


def whole_step(step: Any, least: int = -MAX_STEP) -> int:
    """The number of an epoch or batch as an int.

    Args:
        step: a whole number of any type: 3, 3.0, a NumPy number, a tensor of one element.
        least: the smallest that is taken: 0 for what is reported to a tuner.

    Raises:
        TypeError: it is not a whole number.
        ValueError: it is less than `least`, or does not fit into 64 bits.
    """
    try:
        whole = operator.index(step)
    except Exception:  # noqa: BLE001 - each library has its own for a float
        try:
            number = one_number(step)
        except TypeError:
            number = 0.5
        if not number.is_integer():
            raise TypeError(
                f"step must be a whole number, got {described(step)}: "
                "count the epochs or batches, and give their number"
            ) from None
        whole = int(number)
    if whole < least == 0:
        raise ValueError(f"step must be 0 or more, got {whole}: count from 0")
    if not least <= whole <= MAX_STEP:
        raise ValueError(f"step must fit into 64 bits, got {whole}")
    return whole


def given_step(metrics: dict[str, Any]) -> Any:
    """Take the step of a report, given by its name, out of the metrics.

    Args:
        metrics: the arguments of `report` by name.

    Raises:
        TypeError: there is no step.
    """
    if "step" not in metrics:
        raise TypeError("report takes a step before the metrics, as in report(epoch, loss=loss)")
    return metrics.pop("step")


class Reporter(Protocol):
    """Takes intermediate values of the objective and decides about pruning."""

    def report(self, step: int, value: float) -> None:
        """Report the value of the objective at a step, which counts from 0."""
        ...

    def should_prune(self) -> bool:
        """Whether the trial should stop now."""
        ...

    def missed(self, step: object, names: Iterable[str]) -> None:
        """Note a step whose metrics do not have the objective."""
        ...


class NullReporter:
    """The reporter of a training outside a sweep: it never prunes."""

    def report(self, step: int, value: float) -> None:
        """Do nothing."""

    def should_prune(self) -> bool:
        """Never."""
        return False

    def missed(self, step: object, names: Iterable[str]) -> None:
        """Do nothing."""


class RepeatedSteps:
    """Warns once about a job that reports a step twice: a tuner takes only the first value."""

    def __init__(self) -> None:
        self._values: dict[int, dict[int, float]] = {}
        self._warned = False

    def begin(self, job: int) -> None:
        """Forget the steps of a job: another attempt at it reports them again."""
        self._values.pop(job, None)

    def reported(self, step: int, value: float, job: int = 0, name: str = "the training") -> None:
        """Note a report.

        Args:
            step: its step.
            value: its value; the same value again is no second one.
            job: the job that reports.
            name: name of the job in the warning.
        """
        if self._warned:
            return
        known = self._values.setdefault(job, {})
        first = known.get(step, value)
        if first != value:
            self._warned = True
            self._values.clear()
            log.warning(
                "%s has reported step %d twice, with %.6g and %.6g: only the first value of a step "
                "counts for pruning. Let the step run on where the epochs start over, as in "
                "cross-validation (step = fold * epochs + epoch), or name the metric after the "
                "fold (val_loss_fold1). This warning is shown once",
                name, step, first, value,
            )  # fmt: skip
        elif len(known) < MOST_STEPS:
            known[step] = value


P = ParamSpec("P")
"""What a listener is called with."""


NO_VALUE = "returned no value, and reported none with explr.report"
"""Reason of a job that has no value."""


def reported_value(values: Sequence[float], reported: str, minimize: bool) -> float:
    """The value of a training that has returned none, from what it has reported.

    Args:
        values: its values, the last at the end.
        reported: `last` or `best`, as `objective.reported` has it.
        minimize: whether less is better.
    """
    if reported == "last":
        return values[-1]
    return min(values) if minimize else max(values)


class Listeners(Generic[P]):
    """Calls functions with each report; they have no influence on the training or on pruning.

    A listener that raises is logged once and dropped. Calls may come from several threads.

    Args:
        listeners: the functions, in the order in which they are called.
    """

    def __init__(self, *listeners: Callable[P, object]) -> None:
        self._listeners = list(listeners)
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[Listeners[P]], tuple[()]]:
        return type(self), ()  # they stay in this process: another one that gets this has none

    def add(self, listener: Callable[P, object]) -> None:
        """Call `listener` with every report from now on."""
        with self._lock:
            self._listeners.append(listener)

    def drop(self, listener: Callable[P, object]) -> bool:
        """Stop calling `listener`.

        Returns:
            Whether it was still called.
        """
        with self._lock:
            known = listener in self._listeners
            if known:
                self._listeners.remove(listener)
        return known

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Pass on a report."""
        for listener in tuple(self._listeners):
            try:
                listener(*args, **kwargs)
            except Exception:
                if self.drop(listener):
                    log.exception("a listener failed and gets no more reports")


LISTENERS: Listeners[[int, float]] = Listeners()
"""Called with the step and value of each report of the objective in this process."""


MISSED_STEPS = 3
"""Steps without the objective after which the tuner is told that it is missing."""


class HeardReporter:
    """A reporter whose reports, once they are answered, go to listeners.

    It takes steps and values of any type. What is no number reaches nobody: that is logged once,
    and the training continues.

    Args:
        answering: answers the reports.
        listeners: hear each report after its answer.
    """

    def __init__(self, answering: Reporter, listeners: Listeners[[int, float]]) -> None:
        self._answering = answering
        self._listeners = listeners
        self._warned = False
        self._reported = False
        self._others: dict[str, None] = {}
        self._steps: set[object] = set()

    def report(self, step: Any, value: Any) -> None:
        """See `Reporter.report`.

        Raises:
            Exception: whatever the answering reporter raises; then no listener hears the report.
        """
        try:
            at, number = whole_step(step, least=0), one_number(value)
        except (TypeError, ValueError) as error:
            if not self._warned:
                self._warned = True
                log.warning(
                    "the tuner gets no report of the objective at step %s: %s. "
                    "This warning is shown once", step, error,
                )  # fmt: skip
            return
        self._reported = True
        self._answering.report(at, number)
        self._listeners(at, number)

    def missed(self, step: object, names: Iterable[str]) -> None:
        """See `Reporter.missed`; of the third step the answering reporter is told.

        Args:
            step: its step.
            names: the metrics that it has, which are told with those of the steps before.
        """
        if self._reported or len(self._steps) >= MISSED_STEPS:
            return
        self._others |= dict.fromkeys(map(str, names))
        self._steps.add(str(step))
        if len(self._steps) == MISSED_STEPS:
            self._answering.missed(step, list(self._others))

    def should_prune(self) -> bool:
        """See `Reporter.should_prune`."""
        return self._answering.should_prune()
