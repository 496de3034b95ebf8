"""What a tuner is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from explr.config.grammar import literal
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


class SweepTuner(BaseTuner):
    """Runs a sweep as the command line does; see `OptunaTuner` for the arguments."""

    tuner: ClassVar[str]
    """The option of the group `tuner`."""

    def __init__(
        self,
        n_trials: int | None = None,
        n_jobs: int | Literal["auto"] = 1,
        *,
        sampler: str = "tpe",
        pruner: str | None = None,
        study_name: str | None = None,
        settings: Mapping[str, Any] | None = None,
        overrides: Sequence[str] = (),
    ) -> None:
        named = {"n_trials": n_trials, "n_jobs": n_jobs, **(settings or {})}
        if study_name is not None:
            named["study_name"] = study_name
        self._overrides = [
            f"tuner={self.tuner}",
            f"tuner/sampler={sampler}",
            *([f"tuner/pruner={pruner}"] if pruner else []),
            *(f"{_key(name)}={literal(value)}" for name, value in named.items()),
            *overrides,
        ]

    def optimize(self, train_model: TrainFunction, search_space: Mapping[str, Any]) -> SweepResult:
        """See `BaseTuner.optimize`."""
        import explr  # its public face, which wires a sweep for everybody

        ranges = [
            f"++{name}={value if isinstance(value, str) else literal(value)}"
            for name, value in search_space.items()
        ]
        return explr.tune([*self._overrides, *ranges], train_model)


def _key(name: str) -> str:
    return name if "." in name else f"tuner.{name}"
