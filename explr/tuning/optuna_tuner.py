"""Optuna as an object, for those who would rather not write overrides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from explr.config.grammar import literal
from explr.core.protocols import TrainFunction
from explr.tuning.base import BaseTuner
from explr.tuning.trial import SweepResult


class OptunaTuner(BaseTuner):
    """Searches with Optuna, each trial in a fresh process, as `explr tuner=optuna -m` does.

    Args:
        n_trials: trials in all.
        n_jobs: trials at the same time; `"auto"` runs as many as fit into memory.
        sampler: an option of the group `tuner/sampler`.
        pruner: an option of the group `tuner/pruner`; None takes the default.
        study_name: the same name goes on with the study; None begins a new one.
        settings: further settings by dotted key, such as `{"tracking.autostart": False}`; those of
            `tuner` under their bare names, such as `{"retries": 0}`.
        overrides: whatever else is to be set, in Hydra's grammar, such as `["tracking=off"]`.
    """

    tuner = "optuna"

    def __init__(
        self,
        n_trials: int = 20,
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
