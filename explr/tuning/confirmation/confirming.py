"""Reads from a study which trials confirm which, and chooses the next one to train again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from explr.tuning.confirmation.race import LEVEL, MIN_FRESH, Race
from explr.tuning.optuna_private import best_trials

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

CONFIRMS = "explr.confirms"
"""User attribute of a trial that trains another one again: `number` of that one, `seed` to add to
the sweep's, and how many trials are `compared`."""

SHARE = 0.25
"""Part of a sweep's trials, and of its time, that is kept for confirmation."""

MOST = 10
"""Trainings of each trial at most that are kept for confirmation."""


def reserved(n_trials: float, compared: int) -> float:
    """How many of a sweep's trials confirm others.

    Args:
        n_trials: total number of trials.
        compared: how many of the best are compared; 0 confirms none.
    """
    if not compared:
        return 0
    return max(MIN_FRESH * compared, min(math.ceil(n_trials * SHARE), MOST * compared))


def with_reserve(searched: float, compared: int) -> float:
    """The total number of trials with which at least `searched` of them search."""
    if not compared or math.isinf(searched):
        return searched
    total = int(searched)
    while total - reserved(total, compared) < searched:
        total += 1
    return total


def confirm_fault(n_trials: float, compared: int, node: str) -> str:
    """What is wrong with the number of trials that are compared; empty if nothing is.

    Args:
        n_trials: total number of trials.
        compared: how many of the best are compared; 0 confirms none.
        node: the node of the config that these settings stand in.
    """
    if compared == 1:
        return f"{node}.confirm=1 compares nothing: set 2 or more, or 0 to confirm no trial"
    least = 2 * MIN_FRESH * compared
    if compared and n_trials < least:
        return (
            f"{node}.confirm={compared} trains each of the {compared} best at least {MIN_FRESH} "
            f"times again, out of {n_trials:g} trials: set {node}.n_trials={least} or more"
        )
    return ""


@dataclass(frozen=True)
class Again:
    """A training that confirms a trial.

    Args:
        params: the sampled values by parameter, as the study has them.
        note: user attributes of the new trial.
    """

    params: dict[str, Any]
    note: dict[str, Any]


class Confirmation:
    """What the trials of a study with one objective say of the best of them.

    Args:
        trials: every trial of the study.
        compared: how many of the best are compared.
        minimize: whether smaller values are better.
    """

    def __init__(self, trials: Iterable[FrozenTrial], compared: int, minimize: bool) -> None:
        self._compared = compared
        self._again: dict[int, list[FrozenTrial]] = {}
        searched = []
        for trial in trials:
            if (confirms := trial.user_attrs.get(CONFIRMS)) is not None:
                self._again.setdefault(confirms["number"], []).append(trial)
            elif trial.state.name == "COMPLETE" and is_feasible(trial):
                searched.append(trial)
        sign = 1 if minimize else -1
        searched.sort(key=lambda trial: sign * (trial.value or 0.0))
        first = {repr(sorted(trial.params.items())): trial for trial in reversed(searched)}
        self._best = sorted(first.values(), key=searched.index)[:compared]
        # What fails again and again has no value to compare.
        self._best = [each for each in self._best if self._failures(each.number) < MIN_FRESH]
        fresh = {trial.number: self._values(trial.number) for trial in self._best}
        self.race = Race(fresh, minimize)

    @property
    def begun(self) -> bool:
        """Whether one of the trials has a value with a fresh seed."""
        return bool(self.race.standings())

    def next(self, replicates: int) -> Again | None:
        """The next training; None if no more is needed, or as long as there is one trial.

        Args:
            replicates: trainings of each trial, which have as many seeds.
        """
        if len(self._best) < 2 or self.race.winner is not None:
            return None
        left = [trial for trial in self._best if trial.number in self.race.left]
        trial = min(left, key=lambda each: len(self._again.get(each.number, ())))
        count = 1 + sum(map(len, self._again.values()))
        note = {"number": trial.number, "seed": count * replicates, "compared": self._compared}
        return Again(trial.params, {CONFIRMS: note})

    def told(self) -> dict[str, Any]:
        """The result as `results.json` has it."""
        return {
            "winner": self.race.winner,
            "level": LEVEL,
            "candidates": [vars(each) for each in self.race.standings()],
        }

    def _values(self, number: int) -> list[float]:
        again = self._again.get(number, ())
        complete = (each for each in again if each.state.name == "COMPLETE")
        return [each.values[0] for each in complete]

    def _failures(self, number: int) -> int:
        return sum(each.state.name == "FAIL" for each in self._again.get(number, ()))


def is_feasible(trial: FrozenTrial) -> bool:
    """Whether a trial violates no constraint that is known of it."""
    return all(violation <= 0 for violation in trial.constraints.values())


def confirmation_of(study: Study) -> Confirmation | None:
    """What is confirmed in a study; None if nothing is."""
    trials = study.get_trials(deepcopy=False)
    noted = (trial.user_attrs.get(CONFIRMS) for trial in reversed(trials))
    if (last := next(filter(None, noted), None)) is None:
        return None
    found = Confirmation(trials, last["compared"], study.directions[0].name == "MINIMIZE")
    return found if found.begun else None


def leading_trials(study: Study) -> Sequence[FrozenTrial]:
    """The best trials: one, that with fresh seeds where some were confirmed, or the front."""
    if (found := confirmation_of(study)) is not None:
        number = found.race.standings()[0].number
        return [trial for trial in study.get_trials(deepcopy=False) if trial.number == number]
    return best_trials(study)
