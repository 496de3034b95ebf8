"""Grid search over choices and stepped ranges."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from optuna.samplers import GridSampler

from explr.config.hydra_private import grid_choices
from explr.core.errors import ConfigError
from explr.tuning.search_space import SearchSpace

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, TrialState


class Grid(GridSampler):
    """Optuna's grid sampler for an ask-and-tell study; `size` is its number of trials.

    Args:
        space: the ranges.
        seed: seed of the order of the combinations.

    Raises:
        ConfigError: a range has no step.
    """

    def __init__(self, space: SearchSpace, seed: int | None = None) -> None:
        try:
            choices = {
                name: grid_choices(distribution)
                for name, distribution in space.distributions.items()
            }
        except ValueError:
            raise ConfigError(
                ["tuner/sampler=grid needs choices or ranges with a step for every parameter"]
            ) from None
        self.size = math.prod(len(values) for values in choices.values())
        super().__init__(choices, seed=seed)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        """Do nothing: Optuna's own method stops `Study.optimize`, which does not run here."""
