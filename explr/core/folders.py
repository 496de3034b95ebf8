"""The files of runs and sweeps: their names, replacing one in one step, the best trial."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def replace_file(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file as JSON in one step, so that nobody ever reads half of it.

    Raises:
        OSError: it cannot be written; what was there before is untouched.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(content, file)
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise


RESULTS = "results.json"
RESULT = "result.json"


@dataclass(frozen=True)
class BestTrial:
    """The trial that a sweep has found.

    Args:
        number: its number.
        trials: number of trials in the sweep.
        folder: its folder.
        params: its values by parameter.
        metric: name of the objective.
        value: value of the objective.
        model: where the training saved its best model; None if it saved none.
    """

    number: int
    trials: int
    folder: Path
    params: dict[str, Any]
    metric: str
    value: float
    model: Path | None


def best_trial(folder: Path) -> BestTrial | None:
    """The best trial of the sweep in `folder`, a tuner's or a grid's; None where none is complete.

    Of a sweep with several objectives there is none.
    """
    results = _read(folder / RESULTS)
    if results is not None:
        best = results["best"]
        if best is None:
            return None
        place = folder / str(best["number"])
        place = place if (place / RESULT).exists() else place / "0"  # the first of its replicates
        return _trial(best["number"], len(results["trials"]), place, best["params"], best["value"])
    found = [(file.parent, _read(file)) for file in sorted(folder.glob(f"*/{RESULT}"))]
    complete = [(f, c) for f, c in found if c is not None and c["state"] == "COMPLETE"]
    if not complete:
        return None
    sign = 1 if complete[0][1]["result"]["minimize"] else -1
    place, content = min(complete, key=lambda pair: sign * pair[1]["value"])
    return _trial(content["number"], len(found), place, content["params"], content["value"])


def _trial(
    number: int, trials: int, folder: Path, params: dict[str, Any], value: float
) -> BestTrial:
    result = (_read(folder / RESULT) or {}).get("result") or {}
    model = result.get("best_model_path")
    metric = str(result.get("primary_metric_name", "objective"))
    return BestTrial(number, trials, folder, params, metric, value, Path(model) if model else None)


def _read(file: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    assert isinstance(content, dict)
    return content
