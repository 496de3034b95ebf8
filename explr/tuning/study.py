"""The Optuna study of a sweep, which one controller writes to."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explr.core.folders import flush
from explr.tuning.completed import keep, note_complete
from explr.tuning.confirmation.confirming import CONFIRMS, Confirmation, leading_trials
from explr.tuning.feasibility.failure import FAILURE, Failure
from explr.tuning.optuna_private import (
    enqueued_params,
    is_stopped,
    new_trial,
    optimizing,
    suggest,
    taken_over,
)
from explr.tuning.search_space import (
    SearchSpace,
    SpaceOf,
    check_ranges,
    encoded_configurations,
)
from explr.tuning.storage.journal import STUDY_FILE, cannot_write
from explr.tuning.storage.opening import open_study
from explr.tuning.trial import State
from explr.tuning.trial_account import Limits

if TYPE_CHECKING:
    from optuna import Study as OptunaStudy
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial, Trial

    from explr.tuning.grid import Grid


Extend = Callable[["Trial"], None]
"""Samples further parameters of a trial whose ranges are sampled."""

MEASURED = "explr.measured"
"""User attribute of a trial: the value of each metric that has a constraint."""

ATTEMPTS, REASON, PARAMS = "explr.attempts", "explr.reason", "explr.params"
"""User attributes of a trial: number of starts, why it failed, parameters changed while it ran."""

PAUSED = "explr.paused_s"
"""User attribute of a trial: seconds between a controller's end and the resumption."""

STOP = "explr.stop"
"""User attribute of a study: why the search has ended early."""

FLUSH_EVERY_S = 1.0
"""Seconds in which the start of trials waits for the disk once; it may take several milliseconds.

Of trials that are shorter, a power cut may lose those of the last second.
"""


def _last_written(files: Sequence[Path]) -> float:
    """When the newest of some files was written, in seconds of the epoch; 0 without any."""
    return max((file.stat().st_mtime for file in files if file.exists()), default=0.0)


class Study:
    """A study that only this process writes to. Methods may be called from several threads.

    Args:
        folder: folder of the sweep, which contains the study unless `storage` is given.
        name: name of the study.
        directions: `minimize` or `maximize` for each objective.
        storage: Optuna storage URL; None keeps a journal in `folder`.

    Raises:
        ConfigError: the study was started with other directions.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        directions: Sequence[str],
        storage: str | None = None,
    ) -> None:
        self._lock = threading.RLock()
        self._folder = folder
        self._journal = folder / STUDY_FILE if storage is None else None
        self._left_at = _last_written([folder / STUDY_FILE])
        self._study = open_study(folder, name, directions, storage)
        keep(self._study)
        self._trials: dict[int, Trial] = {}
        self._reports: dict[int, dict[int, float]] = {}
        self._attempts: dict[int, int] = {}
        self._paused_at: dict[int, float] = {}
        self._seeds: dict[int, int] = {}
        self._waiting = self._count("WAITING")
        self._flushed_at = -math.inf
        self.extend: Extend | None = None
        """Samples further parameters of each trial."""

    def use(
        self,
        sampler: BaseSampler | None,
        pruner: BasePruner | None,
        constraints: Sequence[str] = (),
    ) -> None:
        """Set the sampler and the pruner; None keeps the current one.

        The sampler learns from failed trials too.

        Args:
            sampler: chooses the values.
            pruner: stops trials.
            constraints: names of the metrics that have a constraint.
        """
        from explr.tuning.feasibility.learning import taught

        self._study.sampler = taught(sampler or self._study.sampler, constraints)
        self._study.pruner = pruner or self._study.pruner

    @property
    def size(self) -> float:
        """Maximum number of trials that search, those so far included: finite only for a grid."""
        with self._lock:
            grid = self._grid
            trials = len(self.frozen()) - self.confirming()
            return math.inf if grid is None else trials + grid.missing

    @property
    def grid_ended(self) -> tuple[int, int] | None:
        """How many combinations of a grid have ended, and how many it has; None without a grid."""
        grid = self._grid
        return None if grid is None else (grid.ended(self.frozen()), grid.total)

    @property
    def stopped(self) -> bool:
        """Whether the sampler or the pruner has stopped the study."""
        return is_stopped(self._study)

    @property
    def name(self) -> str:
        """Name of the study."""
        return self._study.study_name

    @property
    def held(self) -> OptunaStudy:
        """Optuna's study, to read from."""
        return self._study

    @property
    def directions(self) -> list[str]:
        """`minimize` or `maximize` for each objective."""
        return [direction.name.lower() for direction in self._study.directions]

    def check_space(self, space: SearchSpace) -> None:
        """Make sure that the ranges fit the trials that were run before.

        A range may be widened; values that lie outside of it stay known.

        Raises:
            ConfigError: naming each parameter that changed its kind or its choices.
        """
        check_ranges(self.frozen(), space)

    def enqueue(self, configurations: Sequence[Mapping[str, Any]], space_of: SpaceOf) -> None:
        """Queue known configurations to run first; a resumed study does not repeat them.

        The sampler must be set: a grid samples missing parameters here, and repeats nothing.

        Args:
            configurations: values by parameter; missing parameters are sampled.
            space_of: the ranges that allow a configuration.

        Raises:
            ConfigError: naming each value that the ranges do not allow.
        """
        with self._lock:
            # Optuna's own `skip_if_exists` takes 100000 and 100001 for the same.
            known = [enqueued_params(trial) or trial.params for trial in self.frozen()]
            for codes in encoded_configurations(configurations, space_of):
                if codes in known:
                    continue
                whole = codes if self._grid is None else self._grid.complete(codes)
                if whole is not None:
                    self._study.enqueue_trial(whole)
                    known.append(whole)
            self._waiting = self._count("WAITING")

    @property
    def waiting(self) -> bool:
        """Whether a queued configuration has not started yet."""
        return self._waiting > 0

    def ask(
        self, space_of: SpaceOf, given: Mapping[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Start a trial.

        Args:
            space_of: the ranges that are active given the values sampled so far; called until it
                returns no new range, because one choice may activate further ranges.
            given: values by parameter from another search algorithm; None uses the sampler.

        Returns:
            The trial's number and the values of its parameters.
        """
        with self._optimizing():
            if given is not None:
                space = space_of(given)
                codes = {name: space.encode(name, value) for name, value in given.items()}
                self._study.enqueue_trial(codes)
                self._waiting += 1
            trial = self._begin()
            self._trials[trial.number] = trial
            self._note_seed(trial)
            self._reports[trial.number] = {}
            params = self._sampled(trial, space_of)
        if time.monotonic() - self._flushed_at >= FLUSH_EVERY_S:
            self.flush()  # a trial has no folder before the disk has its number and parameters
        return trial.number, params

    def confirm(self, limits: Limits, space_of: SpaceOf) -> tuple[int, dict[str, Any]] | None:
        """Start a trial that trains one of the best trials again, with another seed.

        Args:
            limits: how many of the best are compared.
            space_of: as in `ask`.

        Returns:
            See `ask`; None if there is nothing to confirm, or not yet.
        """
        with self._lock:
            if not self._waiting:  # else an earlier controller has queued one
                minimize = self.directions[0] == "minimize"
                found = Confirmation(self.frozen(), limits.confirm, minimize)
                if (again := found.next(limits.replicates)) is None:
                    return None
                self._study.enqueue_trial(again.params, user_attrs=again.note)
                self._waiting += 1
            return self.ask(space_of)

    def confirming(self) -> int:
        """Number of trials that were started to confirm another one."""
        started = (trial for trial in self.frozen() if trial.state.name != "WAITING")
        return sum(CONFIRMS in trial.user_attrs for trial in started)

    def confirms(self, number: int) -> bool:
        """Whether a running trial confirms another one."""
        return number in self._seeds

    def note_stop(self, reason: str) -> None:
        """Remember why the search has ended early; empty if it has not."""
        with self._lock:
            if reason != self.stop_reason:
                self._study.set_user_attr(STOP, reason)

    @property
    def stop_reason(self) -> str:
        """Why the search has ended early; empty if it has not."""
        return str(self._study.user_attrs.get(STOP, ""))

    def seed(self, number: int) -> int:
        """The number to add to the sweep's seed in a running trial."""
        return self._seeds.get(number, 0)

    def reports(self, number: int) -> dict[int, float]:
        """What a running trial has reported, by step, also under earlier controllers."""
        with self._lock:
            return dict(self._reports[number])

    def report(self, number: int, step: int, value: float) -> bool:
        """Record an intermediate value.

        Returns:
            Whether to prune the trial; always False with several objectives.
        """
        if len(self.directions) > 1:
            return False
        with self._optimizing():
            trial, told = self._trials[number], self._reports[number]
            if step not in told:  # else an interrupted attempt reported it
                trial.report(value, step)
                told[step] = value
            return not self.confirms(number) and bool(trial.should_prune())

    def tell(
        self,
        number: int,
        state: State,
        values: Sequence[float] = (),
        reason: str = "",
        failure: Failure | None = None,
        measured: Mapping[str, tuple[float, float]] | None = None,
    ) -> None:
        """Record how a trial ended; a pruned trial keeps the last value that it reported.

        Args:
            number: its number.
            state: how it ended.
            values: value of each objective.
            reason: why it did not complete.
            failure: what kind of failure it is; None if it did not fail.
            measured: value and violation of each metric that has a constraint.
        """
        from optuna.trial import TrialState

        with self._optimizing():
            trial, reports = self._trials.pop(number), self._reports.pop(number)
            self._seeds.pop(number, None)
            if reason:
                trial.set_user_attr(REASON, reason)
            if failure is not None:
                trial.set_user_attr(FAILURE, str(failure))
            for name, (_, violation) in (measured or {}).items():
                trial.set_constraint(name, violation)
            if measured:
                told = {name: value for name, (value, _) in measured.items()}
                trial.set_user_attr(MEASURED, told)
            if state == "PRUNED":
                self._study.tell(trial, state=TrialState.PRUNED)
            elif state == "COMPLETE":
                self._study.tell(trial, list(values))
                note_complete(self._study, reports)
            else:
                self._study.tell(trial, state=TrialState.FAIL)

    def flush(self) -> None:
        """Wait until the disk has the journal; a database takes care of itself.

        Raises:
            ExplrError: the journal cannot be written.
        """
        if self._journal is not None:
            try:
                flush(self._journal)
            except OSError as error:
                raise cannot_write(self._journal, error) from error
        self._flushed_at = time.monotonic()

    def note_params(self, number: int, params: Mapping[str, Any]) -> None:
        """Record that a trial continues with other parameters than it started with."""
        with self._lock:
            self._trials[number].set_user_attr(PARAMS, dict(params))

    def begin_attempt(self, number: int) -> int:
        """Count a start of a trial; returns how often it was started before."""
        with self._lock:
            trial = self._trials[number]
            before = self._attempts.get(number, 0)
            self._attempts[number] = before + 1
            if before:  # a trial without this attribute was started once
                trial.set_user_attr(ATTEMPTS, before + 1)
            if (paused_at := self._paused_at.pop(number, None)) is not None:
                paused_s = trial.user_attrs.get(PAUSED, 0) + max(0.0, time.time() - paused_at)
                trial.set_user_attr(PAUSED, round(paused_s, 3))
            return before

    def unfinished(self, space_of: SpaceOf) -> list[tuple[int, dict[str, Any]]]:
        """Take over the trials that an earlier controller started and did not finish.

        Args:
            space_of: the ranges that are active given the values sampled so far.

        Returns:
            The number of each, and the parameters that it had last.
        """
        import optuna

        with self._optimizing():
            running = self._study.get_trials(
                deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)
            )
            for frozen in running:
                self._trials[frozen.number] = taken_over(self._study, frozen)
                self._reports[frozen.number] = dict(frozen.intermediate_values)
                self._attempts[frozen.number] = frozen.user_attrs.get(ATTEMPTS, 1)
                self._note_seed(frozen)
                self._paused_at[frozen.number] = self._last_sign(frozen)
            # A controller may have been killed between two parameters of the same trial.
            return [
                (
                    frozen.number,
                    self._sampled(self._trials[frozen.number], space_of)
                    | frozen.user_attrs.get(PARAMS, {}),
                )
                for frozen in running
            ]

    def count(self) -> int:
        """Number of trials that were started."""
        return len(self.frozen()) - self._count("WAITING")

    def frozen(self) -> list[FrozenTrial]:
        """Every trial, as Optuna stores it."""
        with self._lock:
            return self._study.get_trials(deepcopy=False)

    def front(self) -> list[int]:
        """Numbers of the best trials: one, or with several objectives the Pareto front."""
        with self._lock:
            return [trial.number for trial in leading_trials(self._study)]

    @property
    def _grid(self) -> Grid | None:
        from explr.tuning.grid import Grid

        sampler = self._study.sampler
        return sampler if isinstance(sampler, Grid) else None

    def _last_sign(self, frozen: FrozenTrial) -> float:
        """When a trial of an earlier controller certainly still ran, in seconds of the epoch."""
        folder = self._folder / str(frozen.number)
        files = list(folder.iterdir()) if folder.is_dir() else []
        started = frozen.datetime_start.timestamp() if frozen.datetime_start else 0.0
        return max(started, self._left_at, _last_written(files))

    def _note_seed(self, trial: Trial | FrozenTrial) -> None:
        """Remember the seed of a trial that confirms another one."""
        if (confirms := trial.user_attrs.get(CONFIRMS)) is not None:
            self._seeds[trial.number] = confirms["seed"]

    def _begin(self) -> Trial:
        """A new trial, or a queued one."""
        if self._waiting:
            self._waiting -= 1
            return self._study.ask()
        return new_trial(self._study)

    @contextmanager
    def _optimizing(self) -> Iterator[None]:
        """Hold the lock, and allow a sampler to stop the study, as Optuna's own loop does."""
        with self._lock, optimizing(self._study):
            yield

    def _count(self, state: State) -> int:
        return sum(trial.state.name == state for trial in self.frozen())

    def _sampled(self, trial: Trial, space_of: SpaceOf) -> dict[str, Any]:
        """Values of all active parameters, sampled unless the trial has them already."""
        values: dict[str, Any] = {}
        while fresh := space_of(values).without(list(values)).distributions:
            space = space_of(values)
            for name in fresh:
                sampled = suggest(trial, name, space.distributions[name])
                values[name] = space.value(name, sampled)
        if self.extend is not None:
            self.extend(trial)
            values = trial.params | values
        return values
