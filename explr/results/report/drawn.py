"""What charts draw of a sweep: its trials as studies of Optuna's, in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any

from explr.core.errors import UsageError
from explr.core.secrets.masking import redacted_text
from explr.core.secrets.names import is_secret
from explr.results.report.importance import by_importance, importances, study_of
from explr.results.sweep import SweepView
from explr.results.text import LARGEST, number, plain, spans_decades
from explr.results.trial import TrialView
from explr.tuning.confirmation.confirming import is_feasible

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

SHOWN = 1000
"""Number of trials that a chart draws besides the best ones."""


MOST_WITH_VOLUME = 4
"""Objectives up to which a hypervolume history takes about a second; of five it takes minutes."""


def can_be_drawn(value: float) -> bool:
    """Whether a chart has a place for a value."""
    return abs(value) <= LARGEST  # NaN is not


class Drawn:
    """The trials of a sweep that charts draw, for one objective.

    Args:
        sweep: the sweep.
        objective: index of the objective.
        markup: escapes names and choices for plotly, which takes texts for a kind of HTML.
    """

    def __init__(self, sweep: SweepView, objective: int = 0, markup: bool = True) -> None:
        self.sweep = sweep
        self.objective = objective
        self.metric = self.text(sweep.metrics[objective]) if markup else sweep.metrics[objective]
        self.minimize = sweep.minimize[objective]
        self._sign = 1 if self.minimize else -1
        self._markup = markup
        self.trials = {trial.number: trial for trial in self._thinned()}
        self._ranges: dict[str, Any] = {}
        self._choices: dict[str, list[str]] = {}
        for trial in sweep.trials:
            for name, range_ in trial.frozen.distributions.items():
                if not is_secret(name):
                    self._add(name, range_)

    @cached_property
    def complete(self) -> Study:
        """The completed trials."""
        return self._study(self.with_value("COMPLETE"))

    @property
    def counted(self) -> Study:
        """The completed trials, numbered one after the other as Optuna's history expects it."""
        trials = [deepcopy(trial) for trial in self.complete.get_trials(deepcopy=False)]
        for place, trial in enumerate(trials):
            trial.number = place
        return study_of(trials, self.sweep.study.directions)

    @cached_property
    def valued(self) -> Study:
        """The completed trials, and the pruned ones as if their last value were their result.

        Optuna's charts do not number infeasible trials, so that here they have no constraints.
        """
        return self._study(self._valued(), bounded=False)

    @cached_property
    def every(self) -> Study:
        """All trials in their states; Optuna's charts do not draw values of pruned ones."""
        return self._study(self.trials.values(), keep=True)

    @cached_property
    def ranked(self) -> Study:
        """All completed trials with finite values, also those that are not drawn."""
        return self._study(t for t in self.sweep.complete if all(map(math.isfinite, t.values)))

    @cached_property
    def worst(self) -> list[float]:
        """The worst value of each objective among the ranked trials that are feasible.

        It is the reference point of hypervolumes, which are computed for few objectives only.

        Raises:
            UsageError: there is no such trial, or there are too many objectives.
        """
        if len(self.sweep.metrics) > MOST_WITH_VOLUME:
            raise UsageError(
                f"A hypervolume is computed for at most {MOST_WITH_VOLUME} objectives: more take "
                "minutes."
            )
        feasible = [trial.values for trial in self.ranked.trials if is_feasible(trial)]
        if not feasible:
            raise UsageError("No completed trial has values and satisfies the constraints.")
        sides = zip(self.sweep.minimize, zip(*feasible, strict=True), strict=True)
        return [max(values) if minimize else min(values) for minimize, values in sides]

    @property
    def worst_named(self) -> str:
        """The worst value of each objective with its name; see `worst`."""
        named = self.sweep.metrics if not self._markup else map(self.text, self.sweep.metrics)
        return ", ".join(f"{m} {number(v)}" for m, v in zip(named, self.worst, strict=True))

    @cached_property
    def importances(self) -> dict[str, dict[str, float]] | UsageError:
        """The importances by method, or why there are none."""
        try:
            return importances(self.ranked, self.objective)
        except UsageError as error:
            return error

    @cached_property
    def names(self) -> list[str]:
        """Parameters, the most important first, then in the order of the config."""
        found = self.importances
        known = by_importance(found) if isinstance(found, dict) else []
        return [*known, *(name for name in self._ranges if name not in known)]

    @property
    def target(self) -> Callable[[FrozenTrial], float] | None:
        """What Optuna's charts are to draw; None with a single objective."""
        if len(self.sweep.metrics) == 1:
            return None
        return lambda trial: float(trial.values[self.objective])

    def some(self, most: int) -> Study:
        """The best of the completed trials, and others that are spread evenly.

        Args:
            most: number of trials.
        """
        trials = self.with_value("COMPLETE")
        best_first = sorted(trials, key=lambda t: t.values[self.objective] * self._sign)
        apart = math.ceil(len(trials) / (most / 2))
        chosen = {t.number for t in [*best_first[: most // 2], *best_first[::apart]]}
        return self._study(trial for trial in trials if trial.number in chosen)

    def text(self, text: Any) -> str:
        """A text as plotly takes it, without secrets."""
        return escape(redacted_text(str(text)), quote=False)

    def values(self, trials: Sequence[TrialView]) -> list[float]:
        """The value of each trial that has one: for a pruned one the last that it reported."""
        return [trial.values[self.objective] for trial in trials]

    def in_state(self, state: str) -> list[TrialView]:
        """The trials in a state."""
        return [trial for trial in self.trials.values() if trial.state == state]

    def with_value(self, state: str) -> list[TrialView]:
        """The trials in a state that have a value to draw."""
        return [trial for trial in self.in_state(state) if self.has_value(trial)]

    def choices(self, name: str) -> list[str] | None:
        """The choices of a parameter in the order of the config; None if it is a number."""
        return self._choices.get(name)

    def is_int(self, name: str) -> bool:
        """Whether a parameter is a whole number."""
        return type(self._ranges[name]).__name__ == "IntDistribution"

    def is_log(self, name: str) -> bool:
        """Whether a parameter has a logarithmic axis."""
        of = self._ranges[name]
        return self.choices(name) is None and (of.log or spans_decades([of.low, of.high]))

    def about(self, trial: TrialView) -> str:
        """What a tooltip says of a trial."""
        lines = [f"trial {trial.number} {trial.shown_state}"]
        for metric, value in zip(self.sweep.metrics, trial.values, strict=False):
            lines.append(f"{metric} {number(value)}")
        lines += [f"{name}={plain(value)}" for name, value in trial.params.items()]
        lines = [line if len(line) <= 80 else f"{line[:79]}…" for line in lines]
        return escape(redacted_text("\n".join(lines)), quote=False).replace("\n", "<br>")

    def _add(self, name: str, given: BaseDistribution) -> None:
        """Widen what is known of a parameter: a resumed sweep may have other ranges."""
        from optuna.distributions import CategoricalDistribution

        key = self._name(name)
        known = self._ranges.get(key)
        if known is given:
            return
        if not isinstance(given, CategoricalDistribution):
            if known is not None and known != given:
                widened: Any = deepcopy(given)
                widened.low = min(known.low, widened.low)
                widened.high = max(known.high, widened.high)
                given = widened
            self._ranges[key] = given
            return
        choices = [self._choice(choice) for choice in given.choices]
        if whole := [choice for choice in choices if choice not in self._choices.get(key, ())]:
            self._choices[key] = [*self._choices.get(key, ()), *whole]
            self._ranges[key] = CategoricalDistribution(self._choices[key])

    def _name(self, name: str) -> str:
        return self.text(name) if self._markup else name

    def _choice(self, value: Any) -> str:
        return self.text(plain(value)) if self._markup else plain(value)

    def has_value(self, trial: TrialView) -> bool:
        """Whether a trial has a value that can be drawn."""
        values = trial.values
        return len(values) > self.objective and can_be_drawn(values[self.objective])

    def _valued(self) -> Iterator[TrialView]:
        for trial in self.trials.values():
            if trial.state in ("COMPLETE", "PRUNED") and self.has_value(trial):
                yield trial

    def _thinned(self) -> list[TrialView]:
        """The best trials, those that were the best so far, and others that are spread evenly."""
        trials = self.sweep.trials
        apart, last = math.ceil(len(trials) / SHOWN), len(trials) - 1
        records = self._records() if apart > 1 else set()
        wanted = self.sweep.best | records
        return [t for i, t in enumerate(trials) if (last - i) % apart == 0 or t.number in wanted]

    def _records(self) -> set[int]:
        found, best = set(), math.inf
        for trial in self.sweep.complete:
            value = trial.values[self.objective] * self._sign
            if value < best and trial.is_feasible:
                best = value
                found.add(trial.number)
        return found

    def _study(self, trials: Any, keep: bool = False, bounded: bool = True) -> Study:
        """A study of trials that keep their numbers, with or without states and constraints."""
        return study_of(
            [self._frozen(trial, keep, bounded) for trial in trials], self.sweep.study.directions
        )

    def _frozen(self, trial: TrialView, keep: bool, bounded: bool) -> FrozenTrial:
        from optuna.trial import FrozenTrial, TrialState

        before = trial.frozen
        names = [name for name in before.params if not is_secret(name)]
        params = {}
        for name in names:
            key, value = self._name(name), before.params[name]
            params[key] = self._choice(value) if key in self._choices else value
        done = before.state if keep else TrialState.COMPLETE
        begun, ended = before.datetime_start, before.datetime_complete
        if begun and ended:
            ended = max(begun, ended)  # the clock may have been set back since the start
        return FrozenTrial(
            before.number,
            done,
            None,
            begun,
            ended,
            params,
            {name: self._ranges[name] for name in params},
            user_attrs={},
            system_attrs=before.system_attrs if bounded else {},
            intermediate_values={
                step: value
                for step, value in before.intermediate_values.items()
                if can_be_drawn(value)
            },
            trial_id=before.number,
            values=list(trial.values) if done is TrialState.COMPLETE else None,
        )
