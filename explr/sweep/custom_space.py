"""`hydra.sweeper.custom_search_space`: a function of the app that samples further parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hydra.errors import HydraException
from omegaconf import DictConfig

from explr.config.hydra_versions import make
from explr.config.nodes import SWEEPER_NODE
from explr.core.errors import ConfigError
from explr.sweep.algorithms import GRID
from explr.tuning.study import Extend

if TYPE_CHECKING:
    from optuna.trial import Trial

KEY = f"{SWEEPER_NODE}.custom_search_space"


def custom_space(
    target: str,
    config: DictConfig,
    fixed: Mapping[str, str],
    sampler: Mapping[str, Any],
    trusted: Any,
) -> Extend:
    """The function as the study calls it.

    Args:
        target: `module.function`. The function gets the config of the sweep and Optuna's trial.
        config: composed config of the sweep.
        fixed: the parameters that are not searched, with their values as they are written; the
            trial has them as user attributes.
        sampler: the sampler's `_target_` and arguments.
        trusted: the targets that the app trusts; None trusts this one.

    Raises:
        ConfigError: there is no such function, or the sampler needs to know all ranges before.
    """
    if sampler.get("_target_") == GRID:
        raise ConfigError(
            [f"{KEY} samples parameters of its own, and a grid has none but its ranges"]
        )
    try:
        function = make({"_target_": target, "_partial_": True}, trusted or [target])
    except HydraException as error:
        raise ConfigError([f"{KEY}={target}: {str(error).splitlines()[0]}"]) from None

    def extend(trial: Trial) -> None:
        for name, value in fixed.items():
            trial.set_user_attr(name, value)
        function(config, trial)
        if both := sorted(fixed.keys() & trial.params.keys()):
            raise ConfigError(
                [f"{KEY} samples {name}, which is fixed: leave out {name}=…" for name in both]
            )

    return extend
