"""Intermediate values of the objective: who answers them, and who listens to them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, ParamSpec, Protocol

log = logging.getLogger("explr")


class Reporter(Protocol):
    """Takes intermediate values of the objective and decides about pruning."""

    def report(self, step: int, value: float) -> None:
        """Report the value of the objective at a step."""
        ...

    def should_prune(self) -> bool:
        """Whether the trial should stop now."""
        ...


class NullReporter:
    """The reporter of a training outside a sweep: it never prunes."""

    def report(self, step: int, value: float) -> None:
        """Do nothing."""

    def should_prune(self) -> bool:
        """Never."""
        return False


P = ParamSpec("P")
"""What a listener is called with."""


class Listeners(Generic[P]):
    """Calls functions with each report; they have no influence on the training or on pruning.

    A listener that raises is logged once and dropped. Calls may come from several threads.

    Args:
        listeners: the functions, in the order in which they are called.
    """

    def __init__(self, *listeners: Callable[P, object]) -> None:
        self._listeners = list(listeners)
        self._lock = threading.Lock()

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


class HeardReporter:
    """A reporter whose reports, once they are answered, go to listeners.

    Args:
        answering: answers the reports.
        listeners: hear each report after its answer.
    """

    def __init__(self, answering: Reporter, listeners: Listeners[[int, float]]) -> None:
        self._answering = answering
        self._listeners = listeners

    def report(self, step: int, value: float) -> None:
        """See `Reporter.report`.

        Raises:
            Exception: whatever the answering reporter raises; then no listener hears the report.
        """
        self._answering.report(step, value)
        self._listeners(step, value)

    def should_prune(self) -> bool:
        """See `Reporter.should_prune`."""
        return self._answering.should_prune()
