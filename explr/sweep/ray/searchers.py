"""Ray Tune's own search algorithms, and ranges as Ray domains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from explr.core.errors import ConfigError, MissingDependencyError
from explr.sweep.ray.messages import METRIC
from explr.tuning.search_space import SearchSpace


def ray_domains(space: SearchSpace) -> dict[str, Any]:
    """The Ray domain of each parameter, with exactly the values of its range.

    A range with a step becomes a choice among its values: Ray's `quniform` rounds to multiples of
    the step, which may lie outside the range.

    Args:
        space: the ranges.

    Returns:
        A `ray.tune` domain by parameter.
    """
    return {name: _domain(space, name) for name in space.distributions}


def within(space: SearchSpace, params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters with every number clipped to its range and rounded to its step.

    Args:
        space: the ranges.
        params: values by parameter; those without a range are kept.
    """
    return {name: _nearest(space, name, value) for name, value in params.items()}


def _domain(space: SearchSpace, name: str) -> Any:
    from optuna.distributions import CategoricalDistribution, IntDistribution
    from ray import tune

    range_: Any = space.distributions[name]
    if isinstance(range_, CategoricalDistribution):
        return tune.choice([space.value(name, choice) for choice in range_.choices])
    if isinstance(range_, IntDistribution):
        if range_.log:
            return tune.lograndint(range_.low, range_.high + 1)
        if range_.step == 1:
            return tune.randint(range_.low, range_.high + 1)
    elif range_.step is None:
        return tune.loguniform(range_.low, range_.high) if range_.log else _uniform(range_)
    count = round((range_.high - range_.low) / range_.step) + 1
    # The last one may exceed the range by a rounding error.
    return tune.choice([min(range_.low + i * range_.step, range_.high) for i in range(count)])


def _uniform(range_: Any) -> Any:
    from ray import tune

    return tune.uniform(range_.low, range_.high)


def _nearest(space: SearchSpace, name: str, value: Any) -> Any:
    from optuna.distributions import CategoricalDistribution

    range_: Any = space.distributions.get(name)
    if range_ is None or isinstance(range_, CategoricalDistribution):
        return value
    value = min(max(value, range_.low), range_.high)
    if range_.step:
        count = round((value - range_.low) / range_.step)
        value = min(range_.low + count * range_.step, range_.high)
    return type(range_.low)(value)


NATIVE = "ray.tune.search."
"""Prefix of the `_target_` of a Ray search algorithm."""


def is_native(node: Mapping[str, Any]) -> bool:
    """Whether a sampler config names a Ray search algorithm."""
    return str(node.get("_target_", "")).startswith(NATIVE)


class NativeSearch:
    """Chooses parameters with a Ray search algorithm; see `explr.tuning.account.Suggest`.

    Args:
        node: the algorithm, as a `_target_` and its arguments.
        space: the ranges.
        directions: `minimize` or `maximize` for each objective.

    Raises:
        ConfigError: there is no such algorithm, or it does not support this search.
        MissingDependencyError: the library behind it is not installed.
    """

    def __init__(
        self, node: Mapping[str, Any], space: SearchSpace, directions: Sequence[str]
    ) -> None:
        target = str(node["_target_"])
        if len(directions) > 1:
            raise ConfigError([f"tuner.sampler: {target} searches for one objective"])
        given = {key: value for key, value in node.items() if key != "_target_"}
        module, _, name = target.rpartition(".")
        try:
            self._searcher = getattr(import_module(module), name)(**given)
        except (AssertionError, ImportError) as error:
            raise MissingDependencyError(f"tuner.sampler: {target}: {error}") from None
        except (AttributeError, TypeError, ValueError) as error:
            raise ConfigError([f"tuner.sampler: {target}: {error}"]) from None
        mode = "min" if directions[0] == "minimize" else "max"
        self._searcher.set_search_properties(METRIC, mode, ray_domains(space))
        self._space = space

    def suggest(self, suggestion: str) -> dict[str, Any] | None:
        """See `Suggest.suggest`."""
        params = self._searcher.suggest(suggestion)
        if params is None or params == self._searcher.FINISHED:
            return None
        return within(self._space, params)

    def complete(self, suggestion: str, value: float | None) -> None:
        """See `Suggest.complete`."""
        result = None if value is None else {METRIC: value}
        self._searcher.on_trial_complete(suggestion, result, error=value is None)
