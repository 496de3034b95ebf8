"""The files of a run's folder that explr writes itself."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from explr.core.errors import UsageError
from explr.core.folders import RESULT, write_json
from explr.core.protocols import TrainingContext, TrainingResult


def make_folder(folder: Path) -> None:
    """Make the folder of a run.

    Raises:
        UsageError: it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(
            f"the output folder {folder} cannot be written: {error.strerror}"
        ) from None


def check_folder(folder: Path) -> None:
    """Make sure that a folder can be made and written, without making it.

    Raises:
        UsageError: it cannot.
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
) -> None:
    """Write down how a training ended.

    Args:
        folder: folder of the run.
        state: COMPLETE, PRUNED or FAIL, as Optuna calls them.
        context: what the training was given.
        params: its hyperparameters, as they may be written down.
        duration_s: how long it took.
        result: what it achieved, if it came to its end.
        reason: why it did not.
    """
    content: dict[str, Any] = {
        "state": state,
        "number": context.trial_number,
        "params": params,
        "value": result.primary_metric if result else None,
        "result": asdict(result) if result else None,
        "seed": context.seed,
        "device": context.device,
        "duration_s": round(duration_s, 3),
        "reason": reason,
        "run": context.trial_id,
    }
    write_json(folder / RESULT, content)
