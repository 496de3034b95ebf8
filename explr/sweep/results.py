"""What came out of a sweep: each trial, and the best of them."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explr.config.command_line import program
from explr.core.secrets import redacted_arguments
from explr.runner.result_file import read_result_file
from explr.tuning.study import ATTEMPTS, PARAMS, REASON, Study

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


ValueOf = Callable[[str, Any], Any]
"""What a sampled value of a parameter stands for."""


def results_of(study: Study, path: Path, value: ValueOf) -> dict[str, Any]:
    """What came out so far, as `results.json` has it.

    Args:
        study: the sweep's study.
        path: folder of the sweep.
        value: what a sampled value of a parameter stands for.
    """
    trials = [_row(frozen, path / str(frozen.number), value) for frozen in study.frozen()]
    front = [trials[number] for number in study.front()] if _any_complete(trials) else []
    directions = study.directions
    return {
        "study": study.name,
        "direction": directions[0] if len(directions) == 1 else directions,
        "command": _command(),
        "n_trials": len(trials),
        "best": front[0] if front and len(directions) == 1 else None,
        **({"front": front} if len(directions) > 1 else {}),
        "trials": trials,
    }


def _row(frozen: FrozenTrial, folder: Path, value: ValueOf) -> dict[str, Any]:
    written = read_result_file(folder) if folder.is_dir() else None
    values = frozen.values
    if values is None and frozen.state.name == "PRUNED" and frozen.intermediate_values:
        values = [frozen.intermediate_values[max(frozen.intermediate_values)]]
    duration = frozen.duration.total_seconds() if frozen.duration else None
    return {
        "number": frozen.number,
        "state": frozen.state.name,
        "params": frozen.user_attrs.get(PARAMS)
        or {name: value(name, v) for name, v in frozen.params.items()},
        "value": values if values is None or len(values) > 1 else values[0],
        "steps": len(frozen.intermediate_values),
        "duration_s": duration,
        "dir": str(folder),
        "run_id": _run_id(folder),
        "attempts": frozen.user_attrs.get(ATTEMPTS, 1),
        "reason": _reason(frozen, written["reason"] if written else ""),
    }


def _command() -> str:
    """The command that runs, as one would type it."""
    return f"{program()} {shlex.join(redacted_arguments(sys.argv[1:]))}"


def _reason(frozen: FrozenTrial, written: str) -> str:
    """Why a trial ended early: a pruned training says it best itself."""
    if frozen.state.name == "PRUNED" and written:
        return written
    return str(frozen.user_attrs.get(REASON, written))


def _any_complete(trials: list[dict[str, Any]]) -> bool:
    return any(trial["state"] == "COMPLETE" for trial in trials)


def _run_id(folder: Path) -> str | None:
    """Id of the trial's run in MLflow, where that is known by now."""
    # With replicates, the run of the first stands for the trial.
    found = sorted(folder.glob("journal-*.position")) or sorted(folder.glob("0/journal-*.position"))
    for position in found:
        if run_id := json.loads(position.read_text()).get("run_id"):
            return str(run_id)
    return None
