"""The folder of a run, and the result file in it."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from explr.core.errors import UsageError
from explr.core.folders import RESULT, drop_unfinished, within, write_json
from explr.core.objective.constraints import are_satisfied, constraints_of
from explr.core.protocols import TrainingContext, TrainingResult
from explr.tracking.data.hashes import DataHash


def make_folder(folder: Path) -> None:
    """Create the folder of a run.

    Raises:
        UsageError: it cannot be created or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
        drop_unfinished(folder)  # of an attempt that was killed
    except OSError as error:
        raise UsageError(
            f"the output folder {folder} cannot be written: {error.strerror}"
        ) from None


def check_folder(folder: Path) -> None:
    """Check that a folder can be created and written to, without creating it.

    Raises:
        UsageError: it cannot be created or written to.
    """
    there = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    if not there.is_dir():
        reason = os.strerror(errno.ENOTDIR)
    elif not os.access(there, os.W_OK | os.X_OK):
        reason = os.strerror(errno.EACCES)
    else:
        return
    raise UsageError(f"the output folder {folder} cannot be written: {there}: {reason}")


def write_result(
    folder: Path,
    state: str,
    context: TrainingContext,
    params: Mapping[str, Any],
    duration_s: float,
    result: TrainingResult | None,
    reason: str,
    measured: Mapping[str, float],
    data: Sequence[DataHash] = (),
) -> None:
    """Write `result.json`: how a training ended.

    Args:
        folder: folder of the run.
        state: COMPLETE, PRUNED or FAIL, as in Optuna.
        context: the context of the training.
        params: its hyperparameters, with references in place of values from the environment.
        duration_s: its duration in seconds.
        result: its result; None if it did not complete.
        reason: why it did not complete.
        measured: the value of each metric that has a constraint.
        data: the data that it has read.
    """
    told = asdict(result) if result else None
    if told and told["best_model_path"]:
        told["best_model_path"] = within(folder, Path(told["best_model_path"]))
    content: dict[str, Any] = {
        "state": state,
        "number": context.trial_number,
        "params": params,
        "value": result.primary_metric if result else None,
        "result": told,
        "seed": context.seed,
        "device": context.device,
        "duration_s": round(duration_s, 3),
        "reason": reason,
        "run": context.trial_id,
    }
    if measured and context.config is not None:
        bounds = constraints_of(context.config.objective.constraints)
        feasible = are_satisfied(bounds, tuple(measured.values()))
        content |= {"constraints": measured, "feasible": feasible}
    if data:  # no mapping: what a path is called makes no secret of its hash
        content["data"] = [{"path": each.path, "hash": each.hash} for each in data]
    folder.mkdir(parents=True, exist_ok=True)  # a training may have removed it
    write_json(folder / RESULT, content)
