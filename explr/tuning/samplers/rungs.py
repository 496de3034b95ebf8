"""What the trials of a study have shown at a step that enough of them have reached."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

from optuna import Study
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

END = math.inf
"""The rung of trials that ran to their end: what counts is their value."""


def rung_of(trials: Sequence[FrozenTrial], enough: int) -> float:
    """The last step at which trials were stopped and that enough trials have reached.

    It follows from the steps of the pruned trials themselves: a training need not report at each
    step at which its pruner decides.

    Args:
        trials: trials that have ended or run.
        enough: number of trials that must have reached the step; with fewer trials, all of them.

    Returns:
        The step; `END` if enough trials ran to their end, or none was pruned.
    """
    reached = sorted(map(_reached, trials), reverse=True)[:enough]
    stops = {
        trial.last_step
        for trial in trials
        if trial.state is TrialState.PRUNED and trial.last_step is not None
    }
    if not stops or reached[-1] == END:
        return END
    return max((stop for stop in stops if stop <= reached[-1]), default=min(stops))


class Shown:
    """Shows each trial with its value at a rung, as if it had been run up to there.

    Trials keep their copies from one call to the next, because a trial does not change what it has
    reported.
    """

    def __init__(self) -> None:
        self._copies: dict[int, tuple[float, FrozenTrial]] = {}

    def trials(
        self, study: Study, every: Sequence[FrozenTrial], enough: int
    ) -> Sequence[FrozenTrial]:
        """The trials as a sampler shall see them.

        A trial that was pruned before the rung is left out. One that runs keeps its state unless
        it has reached the rung. An infeasible one is not changed.

        Args:
            study: the study of the trials, which has one objective.
            every: the trials.
            enough: number of trials that must have reached the rung.
        """
        compared = [trial for trial in every if _is_compared(trial)]
        rung = rung_of(compared, enough) if compared else END
        if rung == END and all(trial.state is not TrialState.PRUNED for trial in compared):
            return every
        worst = math.inf if study.direction is StudyDirection.MINIMIZE else -math.inf
        found = []
        for trial in every:
            if not _is_compared(trial) or (trial.state is TrialState.COMPLETE and rung == END):
                found.append(trial)
            elif _reached(trial) >= rung:
                found.append(self._at(rung, trial, worst))
            elif trial.state is TrialState.RUNNING:
                found.append(trial)
        return found

    def _at(self, rung: float, trial: FrozenTrial, worst: float) -> FrozenTrial:
        """A trial as if it had been run up to the rung."""
        known = self._copies.get(trial.number)
        if known is not None and known[0] == rung:
            return known[1]
        value = _value_at(rung, trial)
        shown = copy.copy(trial)
        shown.state = TrialState.COMPLETE
        shown.value = worst if math.isnan(value) else value
        self._copies[trial.number] = rung, shown
        return shown


def _is_compared(trial: FrozenTrial) -> bool:
    """Whether a trial has a value, or may have one at some rung."""
    if trial.state is TrialState.COMPLETE:
        return not any(violation > 0 for violation in trial.constraints.values())
    return trial.state in (TrialState.PRUNED, TrialState.RUNNING)


def _reached(trial: FrozenTrial) -> float:
    """The last step that a trial has reached; -1 if it has reported nothing."""
    if trial.state is TrialState.COMPLETE:
        return END
    return -1 if trial.last_step is None else trial.last_step


def _value_at(rung: float, trial: FrozenTrial) -> float:
    """The last value up to a rung, or the first after it; the result of a trial that ended before.

    Args:
        rung: the step, which the trial has reached.
        trial: the trial.
    """
    reports = trial.intermediate_values
    last = trial.last_step
    if trial.state is TrialState.COMPLETE and (last is None or last < rung):
        return float(trial.values[0])
    return reports[max((step for step in reports if step <= rung), default=min(reports))]
