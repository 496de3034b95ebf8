"""Every use of Optuna that it does not document.

Read in optuna 5.0.0. On an upgrade this file is the one to read.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from explr.utils.gc import collection_paused

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage
    from optuna.storages.journal import BaseJournalBackend
    from optuna.trial import FrozenTrial, Trial, TrialState

CREATE_STUDY, REPORT = 0, 7
"""Kinds of operations in a journal, Optuna's `JournalOperation`. Read in 5.0.0."""


def is_stopped(study: Study) -> bool:
    """Whether a sampler or a pruner has called `Study.stop`.

    Only `Study.optimize` reads the flag, which explr does not call. Read in 5.0.0.
    """
    return study._stop_flag


@contextmanager
def optimizing(study: Study) -> Iterator[None]:
    """Let samplers and pruners call `Study.stop` in the block, as in `Study.optimize`.

    Outside of `Study.optimize`, `Study.stop` raises `RuntimeError`. Read in 5.0.0.
    """
    study._thread_local.in_optimize_loop = True
    try:
        yield
    finally:
        study._thread_local.in_optimize_loop = False


def new_trial(study: Study) -> Trial:
    """Start a trial of a study without queued trials.

    `Study.ask` searches all trials for a queued one, which is slow in a long study.
    Read in 5.0.0.
    """
    import optuna

    study._thread_local.cached_all_trials = None  # as `ask` does
    return optuna.Trial(study, study._storage.create_new_trial(study._study_id))


def taken_over(study: Study, trial: FrozenTrial) -> Trial:
    """A trial that an earlier controller left running, to report to and to finish.

    `Study.tell` takes a number, but `Study` gives no `Trial` for one. Read in 5.0.0.
    """
    import optuna

    return optuna.Trial(study, trial._trial_id)


def suggest(trial: Trial, name: str, distribution: BaseDistribution) -> Any:
    """Sample a parameter, unless the trial has it already.

    The public `suggest_float`, `suggest_int` and `suggest_categorical` build the distribution
    again, and warn if a resumed trial has a range that was widened since. Read in 5.0.0.
    """
    return trial._suggest(name, distribution)


def is_enqueued(trial: FrozenTrial) -> bool:
    """Whether `Study.enqueue_trial` has given a trial its parameters.

    No public attribute says so. Read in 5.0.0.
    """
    return "fixed_params" in trial.system_attrs


def enqueued_params(trial: FrozenTrial) -> dict[str, Any]:
    """The parameters that `Study.enqueue_trial` has given a trial.

    No public attribute has them. Read in 5.0.0.
    """
    return dict(trial.system_attrs.get("fixed_params", {}))


def best_trials(study: Study) -> list[FrozenTrial]:
    """The best trials as `Study.best_trials` has them, which copies every trial first.

    Read in 5.0.0.
    """
    from optuna.study._constrained_optimization import _is_constrained_optimization
    from optuna.study._multi_objective import _get_pareto_front_trials_by_trials

    trials = study.get_trials(deepcopy=False)
    is_constrained = _is_constrained_optimization(trials)
    return _get_pareto_front_trials_by_trials(trials, study.directions, is_constrained)


def with_trials(
    study: Study, change: Callable[[Sequence[FrozenTrial]], Sequence[FrozenTrial]]
) -> Study:
    """A study with other trials for a sampler to look at; all else is that of the study.

    Samplers call `Study._get_trials`. Read in 5.0.0.

    Args:
        study: the study.
        change: makes the trials that are shown of those that there are, which it must not change.
    """
    return cast("Study", _OtherTrials(study, change))


class _OtherTrials:
    def __init__(
        self, study: Study, change: Callable[[Sequence[FrozenTrial]], Sequence[FrozenTrial]]
    ) -> None:
        self._study = study
        self._change = change

    def __getattr__(self, name: str) -> Any:
        if name == "_study":  # while it is copied
            raise AttributeError(name)
        return getattr(self._study, name)

    @property
    def trials(self) -> list[FrozenTrial]:
        return self.get_trials()

    def get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        return self._get_trials(deepcopy, states)

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        every = self._change(self._study._get_trials(deepcopy=False, use_cache=use_cache))
        found = [trial for trial in every if states is None or trial.state in states]
        return copy.deepcopy(found) if deepcopy else found


def rungs_of(trial: FrozenTrial) -> dict[int, float]:
    """What a trial has shown at the rungs of successive halving, by rung.

    `SuccessiveHalvingPruner` stores it so. Read in 5.0.0.
    """
    found: dict[int, float] = {}
    while (value := trial.system_attrs.get(f"completed_rung_{len(found)}")) is not None:
        found[len(found)] = value
    return found


def note_rung(study: Study, trial: FrozenTrial, rung: int, value: float) -> None:
    """Store what a trial shows at a rung of successive halving; see `rungs_of`. Read in 5.0.0."""
    study._storage.set_trial_system_attr(trial._trial_id, f"completed_rung_{rung}", value)


def journal_storage(backend: BaseJournalBackend, lines: Iterable[bytes]) -> BaseStorage:
    """Optuna's journal storage, which opens a long journal several times as fast.

    For each reported value Optuna decodes a line of JSON, and copies the trial and all that it
    reported before, so that a trial that was handed out does not change. While the journal is
    opened no trial was handed out, and the value is added in place. Read in 5.0.0.

    Args:
        backend: reads and writes the journal.
        lines: the lines of the journal.
    """
    from optuna.storages import JournalStorage

    class FastToOpen(JournalStorage):
        def _sync_with_backend(self) -> None:
            if self._replay_result.log_number_read:
                super()._sync_with_backend()
                return
            with collection_paused():
                _replay(self._replay_result, lines)

    return FastToOpen(backend)


def _replay(replayed: Any, lines: Iterable[bytes]) -> None:
    """Apply the operations of a journal that was not read before. Read in 5.0.0.

    Args:
        replayed: Optuna's `JournalStorageReplayResult`.
        lines: the operations as JSON.
    """
    told: dict[bytes, dict[int, float]] = {}  # by the beginning of the line
    for line in lines:
        begin, found, value = line.rpartition(b',"intermediate_value":')
        if found:
            begin, _, step = begin.rpartition(b',"step":')
            try:
                if (values := told.get(begin)) is None:
                    operation = json.loads(begin + b"}")
                    if operation["op_code"] == REPORT:
                        trial = replayed._trials[operation["trial_id"]]
                        # Optuna ignores what is told of a finished trial.
                        finished = trial.state.is_finished()
                        values = told[begin] = {} if finished else trial.intermediate_values
                if values is not None:
                    values[int(step)] = float(value.removesuffix(b"}\n"))
                    replayed.log_number_read += 1
                    continue
            except (ValueError, LookupError):  # another operation, or of another writer
                pass
        told.clear()
        replayed.apply_logs((json.loads(line),))
