"""What a tuner is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from explr.core.protocols import TrainFunction
from explr.tuning.trial import SweepResult


class BaseTuner(ABC):
    """Chooses hyperparameters for a training."""

    @abstractmethod
    def optimize(self, train_model: TrainFunction, search_space: Mapping[str, Any]) -> SweepResult:
        """Search for the hyperparameters with which `train_model` does best.

        Args:
            train_model: the training function.
            search_space: ranges by hyperparameter, in Hydra's sweep grammar, as
                `SearchSpaceBuilder.build` gives them; a value that is no range is fixed.

        Raises:
            ConfigError: a range cannot be read.
        """
