"""Whether a sweep prunes: not with several objectives, which the default pruner gives way to."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig

from explr.config.nodes import SWEEPER
from explr.core.errors import ConfigError

log = logging.getLogger("explr.sweep")

OPTION = "tuner/pruner"
"""The config group that chooses a pruner in explr's own tree."""

DEFAULT = "median"
"""What it chooses if nobody says anything."""

NAMES = ("tuner/pruner", "tuner.pruner", "hydra.sweeper.pruner")
"""How a command line begins to speak of pruners."""


def pruner_for(pruner: Mapping[str, Any], objectives: int, config: DictConfig) -> Mapping[str, Any]:
    """The pruner of a sweep, as a `_target_`; empty never prunes.

    Args:
        pruner: the one that is configured.
        objectives: number of objectives.
        config: composed config of the sweep.

    Raises:
        ConfigError: somebody chose a pruner for several objectives.
    """
    if objectives == 1 or not pruner:
        return pruner
    if _is_chosen(pruner, config):
        raise ConfigError(
            [
                "pruning needs one objective: to search for several, set tuner/pruner=none, or "
                "hydra.sweeper.pruner=null in an app of your own"
            ]
        )
    log.info("several objectives: every trial runs to its end, the default pruner is left out")
    return {}


def _is_chosen(pruner: Mapping[str, Any], config: DictConfig) -> bool:
    option = config.hydra.runtime.choices.get(OPTION)
    if (pruner != SWEEPER["pruner"]) if option is None else (option != DEFAULT):
        return True
    line = [*config.hydra.overrides.task, *config.hydra.overrides.hydra]
    return any(str(override).lstrip("+~").startswith(NAMES) for override in line)
