"""Finds the sweeps and runs below a folder, and tells of each how it stands.

The files of what has ended are enough for that. Only a sweep that runs, or was killed, has its
study read, for which Optuna is imported.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from explr.config.nodes import SCHEMA
from explr.core.checkpoint import CHECKPOINTS
from explr.core.errors import FileError, UsageError
from explr.core.folders import (
    COMMAND,
    JOB,
    MULTIRUN,
    RESULT,
    RESULTS,
    read_json,
    read_result,
    run_folder,
    trial_numbers,
)
from explr.results.single import is_running
from explr.results.sweep import objective_names, stored_study, sweep_config
from explr.tracking.journal.journal import is_being_written
from explr.tuning.confirmation.confirming import leading_trials
from explr.tuning.lock import HOLDER_FILE, LOCK_FILE
from explr.tuning.storage.journal import STUDY_FILE
from explr.tuning.trial import ENDED

DEPTH = 6
"""Folders below one another that are searched; a run usually lies in `outputs/DAY/TIME`."""

PASSED_OVER = frozenset({"__pycache__", "node_modules", "site-packages", "mlruns", CHECKPOINTS})
"""Names of folders that hold no runs."""

WORDS = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "FINISHED": "complete"}
WORDS |= {"FAILED": "failed", "KILLED": "interrupted"}
"""Optuna's and MLflow's states in the words of the list."""

TAIL_BYTES = 4096
"""Bytes at the end of a journal in which its last event lies."""


@dataclass(frozen=True)
class Listed:
    """A sweep or a run.

    Args:
        folder: its folder.
        state: `running`, `complete`, `pruned`, `failed`, `interrupted` if it was killed or stopped
            by hand, or `stopped` if it ended before it had all of its trials.
        begun: when it began, in seconds since the epoch.
        metric: name of the objective; "" if there is no value.
        value: value of the objective, of a sweep the best one; None if there is none.
        ended: number of ended trials; None of a run.
        total: number of trials that are wanted; None if that is not known.
    """

    folder: Path
    state: str
    begun: float
    metric: str = ""
    value: float | None = None
    ended: int | None = None
    total: int | None = None


def listed_below(root: Path) -> list[Listed]:
    """The sweeps and runs in a folder and below it, the newest first.

    Trials stand for themselves only where their sweep is not known.
    """
    return newest_first(_found(root, DEPTH))


def listed_in(folders: Iterable[Path]) -> list[Listed]:
    """Those of some folders, the newest first; what is none is left out."""
    return newest_first(one for folder in folders if (one := _of(folder, _names(folder))))


def newest_first(found: Iterable[Listed]) -> list[Listed]:
    """What was found, once each, the newest first."""
    return sorted({one.folder: one for one in found}.values(), key=lambda one: -one.begun)


def _found(folder: Path, depth: int) -> Iterator[Listed]:
    names = _names(folder)
    if (one := _of(folder, names)) is not None:
        yield one
        return
    if depth == 0 or "pyvenv.cfg" in names:
        return
    for name, is_folder in names.items():
        if is_folder and not name.startswith(".") and name not in PASSED_OVER:
            yield from _found(folder / name, depth - 1)


def _names(folder: Path) -> dict[str, bool]:
    """What lies in a folder, and whether it is a folder; none if it cannot be read."""
    try:
        with os.scandir(folder) as found:
            return {each.name: each.is_dir(follow_symlinks=False) for each in found}
    except OSError:
        return {}


def _of(folder: Path, names: dict[str, bool]) -> Listed | None:
    """What lies in a folder; None if it is neither a sweep nor a run of explr's."""
    with suppress(FileError, UsageError, OSError):  # damaged, another program's, or gone
        if names.keys() & {COMMAND, STUDY_FILE, RESULTS}:
            return _sweep(folder, names)
        if MULTIRUN in names:
            return _grid(folder, names)
        journals = [name for name in names if name.startswith("journal-")]
        if RESULT in names or JOB in names:
            return _ended_run(folder, names)
        if any(name.endswith(".jsonl") for name in journals) or _is_own(folder, names):
            return _other_run(folder, names)
    return None


def _ended_run(folder: Path, names: dict[str, bool]) -> Listed | None:
    content = read_result(folder) if RESULT in names else read_json(folder / JOB)
    assert content is not None
    result = content.get("result") or {}
    value = content["value"] if isinstance(content["value"], float) else None
    name = str(result.get("primary_metric_name", "objective"))
    state = WORDS.get(content["state"], "interrupted")
    return Listed(folder, state, _begun(folder, names), name, value)


def _other_run(folder: Path, names: dict[str, bool]) -> Listed:
    """A run that has not written how it ended: it runs, was killed, or is another app's."""
    journals = [folder / name for name in names if name.endswith(".jsonl")]
    runs = any(is_being_written(journal, unknown=False) for journal in journals)
    if runs or is_running(folder):  # without tracking there is no journal
        state = "running"
    else:
        latest = max(journals, key=lambda path: path.stat().st_mtime_ns, default=None)
        state = _last_state(latest) if latest is not None else "interrupted"
    return Listed(folder, state, _begun(folder, names))


def _last_state(journal: Path) -> str:
    with journal.open("rb") as file:
        file.seek(max(0, journal.stat().st_size - TAIL_BYTES))
        lines = file.read().splitlines()
    for line in reversed(lines):
        with suppress(ValueError, TypeError, KeyError):
            if (event := json.loads(line))["k"] == "end":
                return WORDS.get(event["status"], "interrupted")
    return "interrupted"


def _is_own(folder: Path, names: dict[str, bool]) -> bool:
    """Whether the config that Hydra saved with a run is of explr's own tree."""
    saved = folder / ".hydra" / "hydra.yaml"
    return names.get(".hydra", False) and saved.is_file() and f"{SCHEMA}@" in saved.read_text()


def _sweep(folder: Path, names: dict[str, bool]) -> Listed:
    runs = HOLDER_FILE in names and is_being_written(folder / LOCK_FILE)
    total = _wanted_trials(folder) if MULTIRUN in names else None
    results = None if runs else read_json(folder / RESULTS)
    if results is None or len(results["trials"]) <= max(trial_numbers(folder), default=-1):
        return _unfinished(folder, names, "running" if runs else "interrupted", total)
    states = [trial["state"] for trial in results["trials"]]
    ended, best = sum(state in ENDED for state in states), results["best"]
    if ended < len(states):
        state = "interrupted"
    elif states and "COMPLETE" not in states:
        state = "failed"
    else:
        state = "complete" if total is None or ended >= total else "stopped"
    name, value = "", None
    if best is not None:
        name, value = "objective", float(best["value"])
        with suppress(FileError):  # of another app
            written = read_result(run_folder(folder / str(best["number"]))) or {}
            name = str((written.get("result") or {}).get("primary_metric_name", name))
    return Listed(folder, state, _begun(folder, names), name, value, ended, total)


def _unfinished(folder: Path, names: dict[str, bool], state: str, total: int | None) -> Listed:
    """A sweep of which only its study knows the trials."""
    begun = _begun(folder, names)
    try:
        study = stored_study(folder)
    except UsageError:  # no trial has begun, or its storage is gone
        return Listed(folder, state, begun, ended=0, total=total)
    trials = study.get_trials(deepcopy=False)
    ended = sum(trial.state.name in ENDED for trial in trials)
    complete = any(trial.state.name == "COMPLETE" for trial in trials)
    name, value = "", None
    if complete and len(study.directions) == 1 and (leading := leading_trials(study)):
        (name,), value = objective_names(sweep_config(folder), 1), leading[0].value
    return Listed(folder, state, begun, name, value, ended, total)


def _grid(folder: Path, names: dict[str, bool]) -> Listed | None:
    """A grid, told by its jobs; None if explr knows of none."""
    jobs = [one for each in names if names[each] for one in _found(folder / each, 1)]
    if not jobs:
        return None
    states = {one.state for one in jobs}
    first = next((state for state in ("running", "interrupted", "complete") if state in states), "")
    ended = sum(one.state not in ("running", "interrupted") for one in jobs)
    done = [one for one in jobs if one.state == "complete" and one.value is not None]
    best = None
    if done:
        written = read_result(done[0].folder) if (done[0].folder / RESULT).exists() else None
        less = written is None or written["result"]["minimize"]
        if "feasible" in (written or {}):
            done = [one for one in done if (read_result(one.folder) or {}).get("feasible", True)]
        best = (min if less else max)(done, key=lambda one: one.value or 0.0, default=None)
    return Listed(
        folder,
        first or "failed",
        _begun(folder, names),
        best.metric if best else "",
        best.value if best else None,
        ended,
        len(jobs),
    )


def _wanted_trials(folder: Path) -> int | None:
    """`n_trials` of a sweep, without the time that it takes to read YAML."""
    found = re.search(r"^ +n_trials: (\d+)$", (folder / MULTIRUN).read_text(), re.MULTILINE)
    return int(found[1]) if found else None


def _begun(folder: Path, names: dict[str, bool]) -> float:
    """When a run or a sweep began: its first file is as old."""
    first = (COMMAND, ".hydra/config.yaml", MULTIRUN, RESULT, JOB)
    files = [folder / name for name in first if name.partition("/")[0] in names]
    times = [file.stat().st_mtime for file in files if file.exists()]
    return min(times, default=folder.stat().st_mtime)
