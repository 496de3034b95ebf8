"""`explr.report` and the reporters: how a report reaches the tuner and the listeners."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import Any

from explr.core.errors import BY_TUNER, TrialPruned, UsageError
from explr.core.reporter import HeardReporter, Listeners, NullReporter, Reporter
from explr.core.tracker import Tracker
from explr.core.user_code import running_context
from explr.tracking.sweeps import current, set_current_sweep
from explr.tracking.values import number
from explr.tuning.channel import CHANNEL_VARIABLE, ChannelReporter


class DirectReporter:
    """Reports to the controller in the same process.

    Args:
        report: takes a job's key, a step and a value; returns whether the job should stop.
        key: the job.
    """

    def __init__(self, report: Callable[[int, int, float], bool], key: int) -> None:
        self._report = report
        self._key = key
        self._prune = False

    def report(self, step: int, value: float) -> None:
        """Report the value of the objective at a step.

        Raises:
            TrialPruned: the answer to an earlier report was to stop, but the training continued.
        """
        if self._prune:
            raise TrialPruned(f"{BY_TUNER}, which had asked for it before")
        self._prune = self._report(self._key, int(step), float(value))

    def should_prune(self) -> bool:
        """Whether the answer to the last report was to stop."""
        return self._prune


_direct: Reporter | None = None
_listeners: Listeners[[int, float]] = Listeners()


@contextmanager
def reporting_to(report: Callable[[int, int, float], bool], key: int) -> Iterator[None]:
    """Have the job that runs in this process within the block report to `report`."""
    global _direct
    _direct = DirectReporter(report, key)
    try:
        yield
    finally:
        _direct = None


@contextmanager
def listening(listener: Callable[[int, float], object]) -> Iterator[None]:
    """Call a function with each report of this process's training within the block.

    Args:
        listener: takes a step and the value of the objective. It is called after the report was
            answered; if it raises, that is logged and it is called no more.
    """
    _listeners.add(listener)
    try:
        yield
    finally:
        _listeners.drop(listener)


@contextmanager
def apart_from_trial() -> Iterator[None]:
    """Have what is trained within the block be no part of the trial that runs this process.

    A trial may call `explr.run` or start `explr`. Such a training reports to no tuner, or to its
    own; nobody who listens to the trial hears it; and its record belongs to no sweep.
    """
    global _direct, _listeners
    before = _direct, _listeners, current()
    channel = os.environ.pop(CHANNEL_VARIABLE, None)
    _direct, _listeners = None, Listeners()
    set_current_sweep(None)
    try:
        yield
    finally:
        _direct, _listeners, sweep = before
        set_current_sweep(sweep)
        if channel is not None:
            os.environ[CHANNEL_VARIABLE] = channel


def current_reporter() -> Reporter:
    """The reporter of this process's training; outside a sweep one that never prunes."""
    answering = _direct or ChannelReporter.from_environment() or NullReporter()
    return HeardReporter(answering, _listeners)


_foreign: tuple[tuple[Reporter | None, str | None], Reporter] | None = None


def foreign_reporter() -> Reporter:
    """The reporter of a job that is no training of explr's, the same one for the whole job."""
    global _foreign
    job = _direct, os.environ.get(CHANNEL_VARIABLE)
    if _foreign is None or _foreign[0] != job:
        _foreign = job, current_reporter()
    return _foreign[1]


class ReportingTracker:
    """A tracker that also reports each logged value of the objective, so that logging can prune.

    Args:
        tracker: records everything.
        reporter: takes the reports.
        objective: name of the objective's metric.
    """

    def __init__(self, tracker: Tracker, reporter: Reporter, objective: str) -> None:
        self.inner = tracker
        self._reporter = reporter
        self._objective = objective
        self._count = 0

    # Declared for type checkers: `__getattr__` takes these from the inner tracker.
    metric_names: AbstractSet[str]
    log_params: Any
    set_tag: Any
    log_artifact: Any
    log_figure: Any
    log_text: Any
    log_dict: Any
    log_table: Any
    log_image: Any
    mlflow_run: Any

    def __getattr__(self, name: str) -> Any:
        if name == "inner":  # while it is copied, say
            raise AttributeError(name)
        return getattr(self.inner, name)

    def log_metric(self, name: str, value: float, step: int | None = None) -> None:
        """See `Tracker.log_metric`.

        Raises:
            TrialPruned: the tuner wants the trial to stop.
        """
        self.inner.log_metric(name, value, step)
        if name == self._objective:
            self._report(value, step)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """See `Tracker.log_metrics`.

        Raises:
            TrialPruned: the tuner wants the trial to stop.
        """
        self.inner.log_metrics(metrics, step)
        if self._objective in metrics:
            self._report(metrics[self._objective], step)

    def _report(self, value: float, step: int | None) -> None:
        # Without a step, values are counted: a pruner needs an order.
        self._reporter.report(self._count if step is None else step, float(value))
        self._count += 1
        if self._reporter.should_prune():
            raise TrialPruned(BY_TUNER)


def report(step: int, **metrics: float) -> None:
    """Report metrics of a step and stop the trial if the tuner wants that; works in any Hydra app.

    In a training of explr's the metrics are also logged, and pruning uses the objective. Another
    app names no objective, so pruning uses the first metric.

    Args:
        step: epoch or batch, counted by the training.
        metrics: values by metric name.

    Raises:
        TrialPruned: the tuner wants this trial to stop.
        TypeError: a value cannot be read as a number.
        UsageError: no metric was given.
    """
    if not metrics:
        raise UsageError("explr.report needs a metric, as in explr.report(step, loss=loss)")
    context = running_context()
    if context is not None:
        context.report(step, **metrics)
        reporter = context.reporter
    else:
        reporter = foreign_reporter()
        name, value = next(iter(metrics.items()))
        reporter.report(step, number(name, value, step))
    if reporter.should_prune():
        raise TrialPruned(f"{BY_TUNER}, at step {step}")
