"""What a study refuses: ranges that do not go on with it, configurations outside of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from explr.core.errors import ConfigError
from explr.tuning.search_space import SearchSpace

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


def check_ranges(trials: Sequence[FrozenTrial], space: SearchSpace) -> None:
    """Make sure that ranges fit the trials that were run before.

    A range may be widened; values that lie outside of it stay known.

    Args:
        trials: the trials of the study.
        space: every range that may become active.

    Raises:
        ConfigError: naming each parameter that changed its kind or its choices.
    """
    from optuna.distributions import check_distribution_compatibility

    last: dict[str, Any] = {}
    for trial in trials:
        last |= trial.distributions
    faults = []
    for name, before in last.items():
        now = space.distributions.get(name)
        try:
            if now is not None:
                check_distribution_compatibility(before, now)
        except ValueError:
            faults.append(
                f"{name} was searched in {before} before, and is now in {now}: keep the kind "
                "of range and the choices, or name another study with tuner.study_name"
            )
    if faults:
        raise ConfigError(faults)


def encoded_configurations(
    configurations: Sequence[Mapping[str, Any]], space: SearchSpace
) -> list[dict[str, Any]]:
    """Known configurations as Optuna holds them.

    Args:
        configurations: values by parameter.
        space: every range that may become active.

    Raises:
        ConfigError: naming each value that the ranges do not allow.
    """
    encoded = [{k: space.encode(k, v) for k, v in values.items()} for values in configurations]
    faults = [
        f"tuner.enqueue: {name}={values[name]} {fault}"
        for values, codes in zip(configurations, encoded, strict=True)
        for name, code in codes.items()
        if (fault := space.fault(name, code))
    ]
    if faults:
        raise ConfigError(faults)
    return encoded
