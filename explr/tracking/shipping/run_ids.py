"""Adds the ids of runs to the `results.json` of their sweep, which may have ended before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from explr.core.folders import COMMAND, RESULTS, read_json, run_folder, write_json
from explr.tracking.journal.journal import journals_in
from explr.tracking.journal.position import Position, read_position
from explr.utils.lock import results_locked


class TrialRun(NamedTuple):
    """A run that stands for a trial in the results of a sweep.

    Args:
        sweep: folder of the sweep.
        number: number of the trial.
    """

    sweep: Path
    number: int


def trial_of(journal: Path) -> TrialRun | None:
    """The trial that a run stands for; None if it is no trial, or not the trial's first replicate.

    Args:
        journal: journal of the run.
    """
    for trial in (journal.parent, journal.parent.parent):
        if trial.name.isdecimal() and (trial.parent / COMMAND).exists():
            is_first = run_folder(trial) == journal.parent
            return TrialRun(trial.parent, int(trial.name)) if is_first else None
    return None


def position_of_run(folder: Path) -> Position | None:
    """How far the run in a folder was uploaded; None if no sink has it yet."""
    positions = map(read_position, journals_in(run_folder(folder)))
    return next((position for position in positions if position.run_id), None)


def fill_in(folder: Path) -> None:
    """Add the ids of all runs that are known by now to the results of the sweeps in a folder.

    Raises:
        FileError: the results of a sweep are damaged.
        OSError: they cannot be written.
    """
    for file in sorted(folder.rglob(RESULTS)):
        results = read_json(file) or {"trials": []}
        lacking = [row["number"] for row in results["trials"] if not row.get("run_id")]
        found = {number: position_of_run(file.parent / str(number)) for number in lacking}
        add_run_ids(file.parent, {n: position.run_id for n, position in found.items() if position})


def add_run_ids(sweep: Path, ids: Mapping[int, str]) -> None:
    """Add the ids of runs to the results of a sweep; results that are not there yet will have them.

    A sweep writes its results under the same lock, and reads there which runs a sink has. So the
    position of each run must have been stored before.

    Args:
        sweep: folder of the sweep.
        ids: the sink's id of the run by the number of the trial.

    Raises:
        FileError: the results are damaged.
        OSError: they cannot be written.
    """
    file = sweep / RESULTS
    if not ids or not sweep.is_dir():
        return
    with results_locked(sweep):
        results = read_json(file)
        if results is None:
            return
        rows = [*results["trials"], *(results.get("front") or ()), results["best"]]
        lacking = [row for row in rows if row and row["number"] in ids and not row.get("run_id")]
        for row in lacking:
            row["run_id"] = ids[row["number"]]
        if lacking:
            write_json(file, results, durable=True)
