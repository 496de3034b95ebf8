"""Finds the best trial of a folder, whoever ran the trials."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from explr.config.nodes import is_own_tree
from explr.core.checkpoint import CHECKPOINTS, Checkpoints, step_of
from explr.core.errors import UsageError
from explr.core.folders import RESULTS, BestTrial, best_trial, read_json, read_result
from explr.core.framework import frameworks
from explr.core.ownership import refuse_foreign
from explr.core.protocols import Hyperparameters, html_table
from explr.results.grid import read_grid
from explr.results.summary import confirmation_lines
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
    best = grid.best if grid is not None else best_trial(folder, own=_is_own(folder))
    if best is None:
        raise UsageError(
            f"{folder} has no best trial: no trial is complete and satisfies the constraints, or "
            "there are several objectives"
        )
    told = confirmation_lines((read_json(folder / RESULTS) or {}).get("confirmation"))
    return replace(best, note="\n".join(told)) if told else best


def _is_own(folder: Path) -> bool:
    config = sweep_config(folder)
    return not config or is_own_tree(config)


@dataclass(frozen=True)
class Best:
    """The best trial of a sweep, and what its training left.

    Args:
        number: its number.
        metric: name of the objective.
        value: value of the objective.
        params: values of the searched parameters by name.
        hyperparameters: all hyperparameters of the training; of another app than explr's only the
            searched ones are known.
        folder: folder of its run.
        model_path: where the training saved its best model; None if it saved none.
        checkpoint_path: file of its latest valid checkpoint; None if there is none.
    """

    number: int
    metric: str
    value: float
    params: Hyperparameters
    hyperparameters: Hyperparameters
    folder: Path
    model_path: Path | None
    checkpoint_path: Path | None

    def load_checkpoint(self) -> tuple[int, Any]:
        """Read the latest valid checkpoint.

        Returns:
            Its step and state, as `ctx.load_checkpoint` returns them, with tensors on the CPU.

        Raises:
            UsageError: there is none, or another user has written it.
            CheckpointError: a class or function that the state needs is not there.
        """
        if self.checkpoint_path is None:
            raise UsageError(f"trial {self.number} has no checkpoint in {self.folder}")
        refuse_foreign(self.checkpoint_path, "reading it may run code", "copy it")
        kinds = (each.serializer for each in frameworks())
        kind = next(each for each in kinds if self.checkpoint_path.match(f"*{each.suffix}"))
        return step_of(self.checkpoint_path), kind.load(self.checkpoint_path)

    def _repr_html_(self) -> str:
        """The HTML for a notebook."""
        named = {"model": self.model_path, "checkpoint": self.checkpoint_path}
        paths = {name: path for name, path in named.items() if path is not None}
        of_trial = {"trial": self.number, self.metric: self.value, **self.params}
        return html_table({**of_trial, "folder": self.folder, **paths})


def load_best(folder: str | Path) -> Best:
    """The best trial of a sweep: its parameters, its checkpoint, the path of its model.

    Args:
        folder: folder of the sweep, such as `multirun/2026-01-31/12-00-00-000000`; a tuner's, or a
            grid's.

    Raises:
        UsageError: there is no sweep, no trial is complete, or there are several objectives.
        FileError: a file is damaged.
    """
    sweep = Path(folder)
    if not sweep.is_dir():
        raise UsageError(f"there is no folder {sweep}")
    best = best_in(sweep)
    run = best.folder.absolute()
    written = read_result(run) if _is_own(sweep) else None
    kinds = (each.serializer for each in frameworks())
    paths = (Checkpoints(run / CHECKPOINTS, each).latest() for each in kinds)
    return Best(
        best.number,
        best.metric,
        best.value,
        Hyperparameters(best.params),
        Hyperparameters(written["params"] if written else best.params),
        run,
        best.model,
        next(filter(None, paths), None),
    )
