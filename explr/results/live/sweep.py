"""Keeps the state of a running sweep for the live view.

Recording an event takes microseconds; the thread that shows the view does the drawing.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from explr.core.objective.constraints import Constraint, are_satisfied
from explr.core.reporter import MOST_STEPS
from explr.results.live.curve import Curve
from explr.tuning.trial import ENDED, Job, Outcome
from explr.utils.gpu import gpu_memory

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType


EVERY_S = 2.0
"""Seconds between two readings."""

MOST_PRUNED = 3
"""Pruned jobs that are remembered."""


class GpuMemoryTexts:
    """Reads how much memory is used on each GPU."""

    def __init__(self) -> None:
        self._next: float | None = 0.0
        self._texts: list[str] = []

    def read(self) -> list[str]:
        """A text for each GPU whose memory is known; read again after `EVERY_S`."""
        now = time.monotonic()
        if self._next is not None and now >= self._next:
            gpus = gpu_memory()
            self._texts = [
                f"GPU {index} {memory.used_gb:.1f}/{memory.total_gb:.0f} GiB"
                for index, memory in enumerate(gpus)
                if memory is not None
            ]
            self._next = now + EVERY_S if gpus else None  # a missing GPU stays missing
        return self._texts


@dataclass
class Running:
    """A running job.

    Args:
        job: the job.
        since: its start on the monotonic clock, in seconds.
        step: the last reported step.
        value: the objective at that step.
        curve: the objective over the steps.
    """

    job: Job
    since: float
    step: int | None = None
    value: float | None = None
    curve: Curve[float] = field(default_factory=Curve)


@dataclass(frozen=True)
class Best:
    """The best trial so far by one objective.

    Args:
        trial: its number.
        value: its value of the objective.
        params: its parameters by name.
    """

    trial: int
    value: float
    params: Mapping[str, Any]


@dataclass(frozen=True)
class Pruned:
    """A job that was pruned.

    Args:
        job: the job.
        reason: who pruned it, and why.
        step: the last step that it reported; None if it reported none.
        value: the objective at that step.
        best: the best value of any job at that step.
    """

    job: Job
    reason: str
    step: int | None
    value: float | None
    best: float | None


@dataclass
class SweepProgress:
    """Follows the trials of a sweep. Methods may be called from several threads.

    Args:
        name: name of the sweep: its folder.
        metrics: name of each objective.
        minimize: for each objective whether smaller values are better.
        n_trials: total number of trials.
        replicates: number of trainings of each trial.
        slots: returns how many trials may run at the same time.
        gpu: reads the memory of the GPUs; None leaves it out.
        constraints: bounds that the best trial must satisfy.
        clock: a monotonic clock in seconds.
    """

    name: str
    metrics: Sequence[str]
    minimize: Sequence[bool]
    n_trials: float
    replicates: int = 1
    slots: Callable[[], int] = lambda: 0
    gpu: GpuMemoryTexts | None = None
    constraints: Sequence[Constraint] = ()
    clock: Callable[[], float] = time.monotonic
    counts: Counter[str] = field(default_factory=Counter, init=False)
    best: list[Best | None] = field(init=False)
    pruned: deque[Pruned] = field(default_factory=lambda: deque(maxlen=MOST_PRUNED), init=False)
    _best_at: dict[int, float] = field(default_factory=dict, init=False)
    _running: dict[int, Running] = field(default_factory=dict, init=False)
    _values: dict[int, list[tuple[float, ...]]] = field(default_factory=dict, init=False)
    _ended_jobs: int = field(default=0, init=False)
    _busy_s: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._begin = self.clock()
        self.best = [None] * len(self.metrics)

    def known(
        self,
        state: str,
        trial: int,
        values: Sequence[float],
        params: Mapping[str, Any],
        reports: Mapping[int, float] | None = None,
    ) -> None:
        """Record a trial that ended before this controller started, and what it reported."""
        with self._lock:
            self._count(state, trial, tuple(values), params)
            for step, value in (reports or {}).items():
                self._note(step, value)

    def started(self, job: Job) -> None:
        """Record that a job starts, or starts again."""
        with self._lock:
            self._running[job.key] = Running(job, self.clock())

    def changed(self, job: Job) -> None:
        """Record that a job continues with other parameters."""
        with self._lock:
            if (running := self._running.get(job.key)) is not None:
                running.job = job

    def reported(self, key: int, step: int, value: float) -> None:
        """Record an intermediate value of a job."""
        with self._lock:
            if (running := self._running.get(key)) is not None:
                running.step, running.value = step, value
                running.curve.add(value)
                self._note(step, value)

    def ended(self, job: Job, outcome: Outcome) -> tuple[int, float] | None:
        """Record how a job ended.

        Returns:
            The last step that it reported, and its value; None if it reported none.
        """
        step: int | None = None
        value: float | None = None
        with self._lock:
            running = self._running.pop(job.key, None)
            if running is not None:
                step, value = running.step, running.value
                self._ended_jobs += 1
                self._busy_s += self.clock() - running.since
            if outcome.state == "PRUNED":
                best = None if step is None else self._best_at.get(step)
                self.pruned.append(Pruned(job, outcome.reason, step, value, best))
            self._count_job(job, outcome)
        return None if step is None or value is None else (step, value)

    def _count_job(self, job: Job, outcome: Outcome) -> None:
        if job.replicates == 1:
            # One with a seed of its own confirms another trial.
            values = () if job.seed else outcome.values + outcome.measured
            self._count(outcome.state, job.trial, values, job.params)
            return
        told = self._values.setdefault(job.trial, [])
        if outcome.state != "COMPLETE":
            # The first replicate that did not complete decides for the trial.
            if len(told) <= job.replicates:
                self._count(outcome.state, job.trial, (), job.params)
                told += [()] * (job.replicates + 1)
            return
        told.append(outcome.values + outcome.measured)
        if len(told) == job.replicates:
            means = tuple(sum(each) / len(each) for each in zip(*told, strict=True))
            self._count("COMPLETE", job.trial, () if job.seed else means, job.params)

    def _note(self, step: int, value: float) -> None:
        """Note a value of a step, of which the best is known."""
        better = min if self.minimize[0] else max
        if math.isfinite(value) and (step in self._best_at or len(self._best_at) < MOST_STEPS):
            self._best_at[step] = better(self._best_at.get(step, value), value)

    @property
    def ended_trials(self) -> int:
        """Number of trials that ended, also under earlier controllers."""
        return sum(self.counts[state] for state in ENDED)

    def elapsed_s(self) -> float:
        """Seconds since this controller started."""
        return self.clock() - self._begin

    def left_s(self) -> float | None:
        """Estimated seconds for the remaining trials; None until a job has ended."""
        with self._lock:
            if not self._ended_jobs or not self.ended_trials < self.n_trials < math.inf:
                return None
            each_s = self._busy_s / self._ended_jobs
            jobs = max(0.0, self.n_trials - self.ended_trials) * self.replicates
            now = self.clock()
            done_s = sum(min(now - one.since, each_s) for one in self._running.values())
            side_by_side = max(1, min(self.slots() or 1, int(jobs) or 1))
            return max(0.0, jobs * each_s - done_s) / side_by_side

    def _count(
        self, state: str, trial: int, values: tuple[float, ...], params: Mapping[str, Any]
    ) -> None:
        self.counts[state] += 1
        if state != "COMPLETE" or not values:
            return
        objectives = len(self.minimize)
        if not are_satisfied(self.constraints, values[objectives:]):
            return
        for index, (value, less) in enumerate(zip(values[:objectives], self.minimize, strict=True)):
            best = self.best[index]
            if best is None or (value < best.value if less else value > best.value):
                self.best[index] = Best(trial, value, params)

    def running(self) -> list[Running]:
        """The running jobs."""
        with self._lock:
            return list(self._running.values())

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        """Draw the sweep as it is now."""
        from explr.results.live.sweep_view import picture

        yield from picture(self, options, console.height)
