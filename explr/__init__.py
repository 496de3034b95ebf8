"""explr: train and tune deep-learning models from one function.

The public names are imported when they are first used, so that `import explr` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from explr.api import compose, tune
    from explr.config.ranges import choice, interval
    from explr.config.ranges import range as range
    from explr.core.errors import TrialPruned
    from explr.core.protocols import TrainingContext, TrainingResult
    from explr.results.best import load_best
    from explr.runner.cli.app import main
    from explr.runner.experiment import run
    from explr.runner.reporting import report

_HOMES = {
    "TrainingContext": "explr.core.protocols",
    "TrainingResult": "explr.core.protocols",
    "TrialPruned": "explr.core.errors",
    "choice": "explr.config.ranges",
    "compose": "explr.api",
    "interval": "explr.config.ranges",
    "load_best": "explr.results.best",
    "main": "explr.runner.cli.app",
    "range": "explr.config.ranges",
    "report": "explr.runner.reporting",
    "run": "explr.runner.experiment",
    "tune": "explr.api",
}

__all__ = [  # without `range`, since `from explr import *` would hide Python's own
    "TrainingContext",
    "TrainingResult",
    "TrialPruned",
    "choice",
    "compose",
    "interval",
    "load_best",
    "main",
    "report",
    "run",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'explr' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
