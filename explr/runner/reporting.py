"""`explr.report` and the reporters: how a report reaches the tuner and the listeners."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from explr.core.errors import BY_TUNER, TrialPruned, UsageError
from explr.core.numbers import readable
from explr.core.reporter import (
    BY_NAME,
    LISTENERS,
    HeardReporter,
    Listeners,
    NullReporter,
    RepeatedSteps,
    Reporter,
    given_step,
)
from explr.core.tracker import Tracker
from explr.core.user_code import running_context
from explr.tracking.null import NullTracker
from explr.tracking.sweeps import current, set_current_sweep
from explr.tuning.channel import CHANNEL_VARIABLE, ChannelReporter, ChannelServer
from explr.utils.environment import environment

TRAINING_VARIABLE = "EXPLR_TRAINING"
"""Environment variable of the processes that a training starts: its journal and its objective."""


class DirectReporter(ChannelReporter):
    """Reports to the controller in the same process; processes that it starts use the channel.

    Args:
        channel: the controller's end of the channel.
        key: the job.
    """

    def __init__(self, channel: ChannelServer, key: int) -> None:
        super().__init__(channel.variable(key)[CHANNEL_VARIABLE])
        self._report, self._missed = channel.report, channel.missed
        self._controller = os.getpid()

    def report(self, step: int, value: float) -> None:
        """Report the value of the objective at a step.

        Raises:
            TrialPruned: the answer to an earlier report was to stop, but the training continued.
        """
        if os.getpid() != self._controller:
            super().report(step, value)
            return
        self._refuse_if_pruned()
        self._prune = self._report(self._job, step, float(value)) or self._prune

    def missed(self, step: object, names: Iterable[str]) -> None:
        """Tell the controller what is reported in place of the objective."""
        if os.getpid() == self._controller:
            self._missed(self._job, list(names))
        else:
            super().missed(step, names)


class LoneReporter(NullReporter):
    """The reporter of a training outside a sweep: it warns of what a tuner would not count."""

    def __init__(self) -> None:
        self._repeated = RepeatedSteps()

    def report(self, step: int, value: float) -> None:
        """Note the step."""
        self._repeated.reported(step, value)


_direct: ChannelReporter | None = None
_listeners: Listeners[[int, float]] = LISTENERS


@contextmanager
def reporting_to(channel: ChannelServer, key: int) -> Iterator[None]:
    """Have the job that runs in this process within the block report to its controller.

    Args:
        channel: the controller's end of the channel.
        key: the job.
    """
    global _direct
    _direct = DirectReporter(channel, key)
    try:
        with environment(channel.variable(key)):
            yield
    finally:
        _direct = None


def in_controller() -> bool:
    """Whether the job of this process runs in that of its sweep."""
    return _direct is not None


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
    _direct, _listeners = None, Listeners()
    set_current_sweep(None)
    try:
        with environment({CHANNEL_VARIABLE: None, TRAINING_VARIABLE: None}):
            yield
    finally:
        _direct, _listeners, sweep = before
        set_current_sweep(sweep)


def current_reporter(lone: type[NullReporter] = LoneReporter) -> Reporter:
    """The reporter of this process's training.

    Args:
        lone: the one outside a sweep, which never prunes.
    """
    answering = _direct or ChannelReporter.from_environment() or lone()
    return HeardReporter(answering, _listeners)


_foreign: tuple[tuple[ChannelReporter | None, str | None], Reporter, str | None] | None = None


def foreign_reporter() -> tuple[Reporter, str | None]:
    """The reporter of a job that is no training of explr's, the same one for the whole job.

    Returns:
        The reporter, and the name of the metric to report; None takes the first one.
    """
    global _foreign
    job = _direct, os.environ.get(CHANNEL_VARIABLE)
    if _foreign is None or _foreign[0] != job:
        channel = _direct or ChannelReporter.from_environment()
        _foreign = job, current_reporter(NullReporter), channel.metric if channel else None
    return _foreign[1:]


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
        self._count = count()

    def __reduce__(self) -> tuple[type[ReportingTracker], tuple[Tracker, Reporter, str]]:
        return type(self), (self.inner, self._reporter, self._objective)

    # Declared for type checkers: `__getattr__` takes these from the inner tracker.
    metric_names: AbstractSet[str]
    log_param: Any
    log_params: Any
    set_tag: Any
    set_tags: Any
    log_artifact: Any
    log_artifacts: Any
    log_figure: Any
    log_text: Any
    log_dict: Any
    log_table: Any
    log_image: Any
    log_input: Any
    log_model: Any
    mlflow_run: Any

    def __getattr__(self, name: str) -> Any:
        if name == "inner":  # while it is copied, say
            raise AttributeError(name)
        return getattr(self.inner, name)

    def log_metric(self, key: str, value: Any, step: int | None = None) -> None:
        """See `Tracker.log_metric`.

        Raises:
            TrialPruned: the tuner wants the trial to stop.
        """
        self.log_metrics({key: value}, step)

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """See `Tracker.log_metrics`.

        Raises:
            TrialPruned: the tuner wants the trial to stop.
        """
        if self._objective not in metrics:
            self.inner.log_metrics(metrics, step)
            return
        self.inner.log_metrics(metrics, step)
        counted = next(self._count)  # takes the place of a step: a pruner needs an order
        self._reporter.report(counted if step is None else step, metrics[self._objective])
        if self._reporter.should_prune():
            raise TrialPruned(BY_TUNER)


class NotingTracker:
    """A tracker that remembers the last value of some metrics.

    Args:
        tracker: records everything.
        names: names of these metrics.
    """

    def __init__(self, tracker: Tracker, names: Iterable[str]) -> None:
        self.inner = tracker
        self._names = frozenset(names)
        self.last: dict[str, float] = {}

    def __reduce__(self) -> tuple[type[NotingTracker], tuple[Tracker, frozenset[str]]]:
        return type(self), (self.inner, self._names)

    def __getattr__(self, name: str) -> Any:
        if name == "inner":  # while it is copied, say
            raise AttributeError(name)
        return getattr(self.inner, name)

    def log_metric(self, key: str, value: Any, step: int | None = None) -> None:
        """See `Tracker.log_metric`."""
        self.log_metrics({key: value}, step)

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """See `Tracker.log_metrics`."""
        self.inner.log_metrics(metrics, step)
        self.last |= readable({name: metrics[name] for name in self._names & metrics.keys()})


@contextmanager
def helped(journal: Path | None, objective: str) -> Iterator[None]:
    """Let processes that are started within the block call `explr.report` for this training.

    Args:
        journal: journal of the run; None if it is not tracked.
        objective: name of the objective's metric.
    """
    training = {
        "journal": None if journal is None else str(journal),
        "objective": objective,
        "channel": os.environ.get(CHANNEL_VARIABLE),
    }
    with environment({TRAINING_VARIABLE: json.dumps(training)}):
        yield


def refuse_relaunch() -> None:
    """Refuse to run a command that a training of it has started again as one of its processes.

    Lightning does so with `strategy="ddp"`: the whole sweep would run once more.

    Raises:
        UsageError: a training has.
    """
    launched = os.environ.get("LOCAL_RANK", "0") != "0" and "TORCHELASTIC_RUN_ID" not in os.environ
    if launched and TRAINING_VARIABLE in os.environ:
        raise UsageError(
            'this command was started once more by its own training, as by strategy="ddp" of '
            "Lightning: set framework.processes=2, which starts two processes for the Trainer "
            "(devices=ctx.world_size)"
        )


def _helper_tracker() -> ReportingTracker | None:
    """Records and reports for the training that started this process; None if none did."""
    text = os.environ.get(TRAINING_VARIABLE)
    return None if text is None else _tracker_of(text, os.environ.get(CHANNEL_VARIABLE))


@cache
def _tracker_of(text: str, channel: str | None) -> ReportingTracker | None:
    training = json.loads(text)
    if training["channel"] != channel:  # this is a job of a sweep that the training started
        return None
    tracker: Tracker = NullTracker()
    if training["journal"] is not None:
        from explr.tracking.run import helper_tracker

        tracker = helper_tracker(Path(training["journal"]))
    return ReportingTracker(tracker, current_reporter(), training["objective"])


def report(step: int = BY_NAME, /, **metrics: Any) -> None:
    """Report metrics of a step and stop the trial if the tuner wants that; works in any Hydra app.

    In a training of explr's the metrics are also logged, and pruning uses the objective. Another
    app may name its objective in `hydra.sweeper.metric`; else it is the first metric. A job that
    returns None has the value that it reported last, or the best one, as `hydra.sweeper.reported`
    says. Threads of the training and processes that it starts may report too.

    Args:
        step: epoch or batch, counted by the training: a whole number from 0 on, of any type (3,
            3.0, a NumPy number, a tensor). A tuner takes the first value of a step.
            `step=` works too; after a step without its name, `step` is a metric like others.
        metrics: values by metric name; what cannot be read is left out with a warning, as by
            `TrainingContext.report`.

    Raises:
        TrialPruned: the tuner wants this trial to stop.
        TypeError: no step is given.
        UsageError: no metric was given.
    """
    at = given_step(metrics) if step is BY_NAME else step
    if not metrics:
        raise UsageError("explr.report needs a metric, as in explr.report(step, loss=loss)")
    context = running_context()
    if context is not None:
        context.report(at, **metrics)
        reporter = context.reporter
    elif (tracker := _helper_tracker()) is not None:
        tracker.log_metrics(metrics, at)
        return
    else:
        reporter, name = foreign_reporter()
        if name is None or name in metrics:
            reporter.report(at, metrics[name] if name else next(iter(metrics.values())))
        else:
            reporter.missed(at, metrics)
    if reporter.should_prune():
        raise TrialPruned(f"{BY_TUNER}, at step {at}")
