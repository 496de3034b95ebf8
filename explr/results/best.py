"""Finds the best trial of a folder, whoever ran the trials."""

from __future__ import annotations

from pathlib import Path

from explr.config.nodes import is_own_tree
from explr.core.errors import UsageError
from explr.core.folders import BestTrial, best_trial
from explr.results.grid import read_grid
from explr.results.sweep import sweep_config


def best_in(folder: Path) -> BestTrial:
    """The best trial of a sweep or a grid.

    Args:
        folder: its folder.

    Raises:
        UsageError: there is none, or nobody kept the values.
        FileError: a file is damaged.
    """
    grid = read_grid(folder)
    if grid is not None:
        best = grid.best
    else:
        config = sweep_config(folder)
        best = best_trial(folder, own=not config or is_own_tree(config))
    if best is None:
        raise UsageError(
            f"{folder} has no best trial: no trial is complete, or there are several objectives"
        )
    return best
