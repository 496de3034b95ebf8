"""Ranges as Ray Tune's domains, for its own search algorithms and population based training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from explr.tuning.search_space import SearchSpace


def ray_domains(space: SearchSpace) -> dict[str, Any]:
    """The domain of each parameter, with exactly the values that its range has.

    A range with a step becomes a choice among its values: Ray's own `quniform` rounds to multiples
    of the step, which leaves the range where that does not begin at one.

    Args:
        space: the ranges.

    Returns:
        By parameter a `ray.tune` domain, which samples what a trial is given.
    """
    return {name: _domain(space, name) for name in space.distributions}


def within(space: SearchSpace, params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters with every number brought back into its range, and onto its step.

    Args:
        space: the ranges.
        params: values by parameter; one that has no range is kept.
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
