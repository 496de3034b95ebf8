"""Every use of Optuna that it does not document.

Read in optuna 5.0.0. On an upgrade this file is the one to read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, Trial

CREATE_STUDY, CREATE_TRIAL, SET_TRIAL_STATE = 0, 4, 6
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
