"""The command that trains the best trial of a sweep once more."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from explr.config.command_line import program
from explr.config.grammar import quoted
from explr.config.settings_file import FILE_OVERLAY, SCRIPT_SPACE
from explr.runner.sweep_space import SweepSpace


def retrain_overrides(space: SweepSpace, best: Mapping[str, Any]) -> list[str]:
    """Overrides that train a trial once more.

    Args:
        space: the ranges of its sweep.
        best: the trial, as `results.json` has it.
    """
    job = space.job(best["number"], best["params"], {})
    if FILE_OVERLAY in job.overrides:  # what the file said is in the trial's own folder
        again = quoted(str(Path(best["dir"], "again")))
        return ["--experimental-rerun", best["dir"], f"hydra.run.dir={again}"]
    own: tuple[str, ...] = ("tuner", "hydra", "+hydra", "++hydra")
    if program() != "explr":  # what a script says of itself
        own += ("train_model=", SCRIPT_SPACE)
    return [text for text in job.overrides if not text.startswith(own)]
