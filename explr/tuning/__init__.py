"""Searching for hyperparameters: what a tuner is, and the loop behind it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from explr.tuning.base import BaseTuner
    from explr.tuning.optuna_tuner import OptunaTuner
    from explr.tuning.ray_tuner import RayTuneTuner
    from explr.tuning.search_space import SearchSpaceBuilder
    from explr.tuning.trial import SweepResult

_HOMES = {
    "BaseTuner": "explr.tuning.base",
    "OptunaTuner": "explr.tuning.optuna_tuner",
    "RayTuneTuner": "explr.tuning.ray_tuner",
    "SearchSpaceBuilder": "explr.tuning.search_space",
    "SweepResult": "explr.tuning.base",
}

__all__ = ["BaseTuner", "OptunaTuner", "RayTuneTuner", "SearchSpaceBuilder", "SweepResult"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'explr.tuning' has no attribute {name!r}")
