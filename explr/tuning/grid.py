"""Grid search: every combination of choices and stepped ranges, each once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Sized
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING, Any

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler

from explr.core.errors import ConfigError
from explr.tuning.optuna_private import enqueued_params, is_enqueued
from explr.tuning.search_space import SearchSpace

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

Combination = tuple[int, ...]
"""The number of a branch, and the place of each of its values in its range."""


class Grid(BaseSampler):
    """Samples the combinations that no trial has yet.

    Which ones these are follows from the parameters of the study's trials alone. So a grid is
    complete also after a range was widened, with another seed, and with queued configurations.

    Args:
        branches: the ranges that are active together, one search space for each combination of the
            options of swept config groups.
        trials: the trials of the study so far.
        seed: seed of the order of the combinations.

    Raises:
        ConfigError: a range has no step; names each that has none.
    """

    def __init__(
        self,
        branches: Sequence[SearchSpace],
        trials: Sequence[FrozenTrial],
        seed: int | None = None,
    ) -> None:
        _check_steps(branches)
        self._branches = [
            {name: _Axis(each) for name, each in branch.distributions.items()}
            for branch in branches
        ]
        self.total = sum(_size(axes.values()) for axes in self._branches)
        """Number of combinations."""
        self._random = Random(seed)
        self._earlier = len(trials)
        self._known = self._combinations(trials)
        self._planned: dict[int, dict[str, Any]] = {}
        for trial in trials:  # a queued trial, or one whose controller was killed while sampling
            if not trial.state.is_finished() and self._combination_of(trial) is None:
                self._plan(trial.number, enqueued_params(trial) | trial.params)

    @property
    def missing(self) -> int:
        """Number of combinations that no trial has, queued ones included."""
        return self.total - len(self._known)

    def ended(self, trials: Sequence[FrozenTrial]) -> int:
        """Number of combinations that ended trials have."""
        return len(self._combinations([each for each in trials if each.state.is_finished()]))

    def complete(self, params: Mapping[str, Any]) -> dict[str, Any] | None:
        """Complete a configuration that is to be queued to a missing combination.

        Args:
            params: values by parameter; some may be missing.

        Returns:
            The values of all parameters; None if a trial has this configuration already.
        """
        part = self._part(params)
        if any(_contains(part, known) for known in self._known):
            return None
        return dict(params) | (self._draw(params) or {})

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Choose the combination of a new trial."""
        if trial.number >= self._earlier and not is_enqueued(trial):
            self._plan(trial.number, {})

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """See `BaseSampler`: no parameter is sampled before the trial asks for it."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """See `BaseSampler`."""
        return {}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """See `BaseSampler`: the value in the trial's combination.

        A trial that was begun or queued outside of the present ranges has no combination.
        """
        planned = self._planned.get(trial.number, {})
        if param_name in planned:
            return planned[param_name]
        axis = _Axis(param_distribution)
        return axis.value(self._random.randrange(len(axis)))

    def _plan(self, number: int, given: Mapping[str, Any]) -> None:
        """Choose the combination of a trial."""
        if (params := self._draw(given)) is not None:
            self._planned[number] = params

    def _draw(self, given: Mapping[str, Any]) -> dict[str, Any] | None:
        """Take a missing combination with the given values; None if there is none."""
        part = self._part(given)
        sizes = {number: _size(places) for number, places in part.items()}
        known = sum(_contains(part, each) for each in self._known) if given else len(self._known)
        if sum(sizes.values()) <= known:
            return None
        while True:
            (number,) = self._random.choices(list(sizes), list(sizes.values()))
            drawn = (number, *map(self._random.choice, part[number]))
            if drawn not in self._known:
                self._known.add(drawn)
                axes = self._branches[number].items()
                return {
                    name: axis.value(place)
                    for (name, axis), place in zip(axes, drawn[1:], strict=True)
                }

    def _part(self, given: Mapping[str, Any]) -> dict[int, list[range]]:
        """The places in each branch that have the given values.

        A value counts only in branches that have its parameter; those with the most of them count.
        """
        shared = [len(axes.keys() & given.keys()) for axes in self._branches]
        places = {
            number: [
                axis.places_of(given[name]) if name in given else range(len(axis))
                for name, axis in axes.items()
            ]
            for number, axes in enumerate(self._branches)
            if shared[number] == max(shared)
        }
        return {number: each for number, each in places.items() if all(each)}

    def _combinations(self, trials: Iterable[FrozenTrial]) -> set[Combination]:
        """The combinations that trials have, whether they ended or not."""
        found = map(self._combination_of, trials)
        return {combination for combination in found if combination is not None}

    def _combination_of(self, trial: FrozenTrial) -> Combination | None:
        """The combination of a trial; None if it is not known yet, or outside of the grid."""
        sampled = self._combination(trial.params)
        if sampled is not None or trial.state.is_finished():
            return sampled
        return self._combination(enqueued_params(trial) | trial.params)

    def _combination(self, params: Mapping[str, Any]) -> Combination | None:
        """The combination that has exactly some parameters; None if the grid has none."""
        for number, axes in enumerate(self._branches):
            if axes.keys() == params.keys():
                places = [axis.places_of(params[name]) for name, axis in axes.items()]
                if all(places):
                    return (number, *(place.start for place in places))
        return None


class _Axis:
    """The values of a choice or of a stepped range, in order.

    Args:
        distribution: the range.
    """

    def __init__(self, distribution: BaseDistribution) -> None:
        self._distribution: Any = distribution
        if isinstance(distribution, CategoricalDistribution):
            self._size = len(distribution.choices)
        else:
            numbers: Any = distribution
            self._size = round((numbers.high - numbers.low) / numbers.step) + 1

    def __len__(self) -> int:
        return self._size

    def value(self, place: int) -> Any:
        """The value at a place."""
        if isinstance(self._distribution, CategoricalDistribution):
            return self._distribution.choices[place]
        low, step = self._distribution.low, self._distribution.step
        if isinstance(low, int):
            return low + place * step
        return float(Decimal(str(low)) + place * Decimal(str(step)))  # no rounding error adds up

    def places_of(self, value: Any) -> range:
        """The place of a value as a range of one; an empty range if it is none of the values."""
        try:
            stored = self._distribution.to_internal_repr(value)
        except ValueError:
            return range(0)
        place = stored
        if not isinstance(self._distribution, CategoricalDistribution):
            place = (stored - self._distribution.low) / self._distribution.step
        nearest = round(place)
        near = abs(place - nearest) < 1e-6 and 0 <= nearest < self._size
        return range(nearest, nearest + 1) if near else range(0)


def _check_steps(branches: Sequence[SearchSpace]) -> None:
    """Check that each range has a finite number of values.

    Raises:
        ConfigError: naming each that has not.
    """
    names = [
        name
        for branch in branches
        for name, each in branch.distributions.items()
        if not isinstance(each, CategoricalDistribution) and getattr(each, "step", None) is None
    ]
    if names:
        raise ConfigError(
            [
                f"tuner/sampler=grid needs choices or ranges with a step for every parameter: "
                f"{name} has no step, write {name}=range(START,STOP,STEP)"
                for name in dict.fromkeys(names)
            ]
        )


def _size(axes: Iterable[Sized]) -> int:
    return math.prod(map(len, axes))


def _contains(part: Mapping[int, Sequence[range]], combination: Combination) -> bool:
    """Whether a combination lies in a part of the grid."""
    number, *places = combination
    return number in part and all(map(range.__contains__, part[number], places))
