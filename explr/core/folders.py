"""The files of runs and sweeps: their names, reading one, replacing one in one step."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from explr.core.claims import belongs_to_running, own_mark
from explr.core.errors import FileError
from explr.core.secrets.masking import redacted

log = logging.getLogger(__name__)

FORMAT = 1
"""Version of explr's files; one without a version is of the first."""

RESULT = "result.json"
"""File of a run's folder: how the training ended."""

DATA = "data.json"
"""File of a run's folder and of a sweep's: the hashes of the data."""

JOB = "explr.json"
"""File of a job's folder in a grid of somebody else's app: how the job ended."""

REPLICATES = "replicates.json"
"""File of a trial's folder: the values and reports of its finished replicates."""

COMMAND = "sweep.json"
"""File of a sweep's folder: the command that began the sweep."""

RESULTS = "results.json"
"""File of a sweep's folder: every trial and the best one."""

BEST_PARAMS = "optimization_results.yaml"
"""File of a sweep's folder: the best parameters in the format of Hydra's own sweepers."""

MULTIRUN = "multirun.yaml"
"""File of a sweep's folder: its composed config, as Hydra's own sweepers write it."""

SAVED = ("config.yaml", "hydra.yaml", "overrides.yaml")
"""What Hydra saves of a run, in the folder `hydra.output_subdir` of the run's folder."""

REPORT = "report.html"
"""File of a sweep's folder: the report."""

KEYS = {
    RESULT: ("state", "number", "params", "value", "result", "device", "reason"),
    JOB: ("state", "number", "overrides", "params", "value", "reason", "sweep", "command"),
    COMMAND: ("study", "cwd"),
    DATA: ("paths", "data"),
    RESULTS: ("command", "best", "trials"),
}
"""Keys that a file must have."""

REMEDIES = {
    RESULT: ": restore it, or delete it",
    JOB: ": restore it, or delete it",
    DATA: ": restore it, or delete it",
    COMMAND: ": restore it, or delete it and run the command of the sweep again",
    RESULTS: ": `explr resume` on its folder writes it again from the study",
}
"""What to do about a damaged file."""

WRITING = ".writing-"
"""Prefix of the name of an unfinished file."""


@contextmanager
def replacing(path: Path, ending: str = "") -> Iterator[Path]:
    """Replace a file in one step, so that no reader ever sees half of it.

    The block writes the new file to the path that it is given. If the block raises, the file that
    was there before stays untouched.

    Args:
        path: the file.
        ending: how the path in the block ends, for writers that look at the ending. Without one it
            never ends like `path`, so that it is not mistaken for a finished file.

    Raises:
        OSError: the file cannot be replaced.
    """
    with replacing_by(path.with_name(f"{WRITING}{path.name}.{own_mark()}{ending}"), path) as aside:
        yield aside


@contextmanager
def replacing_by(aside: Path, path: Path) -> Iterator[Path]:
    """Replace a file in one step by another one, which the block writes; see `replacing`.

    Args:
        aside: the other file, beside it; gone after the block.
        path: the file.

    Raises:
        OSError: the file cannot be replaced.
    """
    try:
        yield aside
        aside.replace(path)
    except BaseException:
        with suppress(OSError):  # the first error is the one to raise
            aside.unlink(missing_ok=True)
        raise


def drop_unfinished(folder: Path, name: str = "") -> None:
    """Delete the unfinished files of processes that have ended.

    Args:
        folder: where they lie.
        name: of the file that they would have replaced; all of them without one.
    """
    for leftover in folder.glob(f"{WRITING}{name}*"):
        if not belongs_to_running(leftover.name):
            leftover.unlink(missing_ok=True)


def replace_file(
    path: Path,
    content: Mapping[str, Any] | str | bytes,
    *,
    private: bool = True,
    durable: bool = False,
) -> None:
    """Write a file in one step, so that no reader ever sees half of it.

    Args:
        path: the file.
        content: what to write; a mapping is written as compact JSON, a text as UTF-8.
        private: only this user may read the file; otherwise whoever the umask lets.
        durable: the file survives a power cut as soon as it is written.

    Raises:
        OSError: the file cannot be written; what was there before stays untouched.
    """
    if isinstance(content, Mapping):
        content = json.dumps(content)
    data = content.encode() if isinstance(content, str) else content
    mode = 0o600 if private else 0o644  # nobody else may change what explr reads again
    with replacing(path) as aside:
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        if durable:
            flush(aside)
    if durable:
        flush(path.parent)


def flush(path: Path) -> None:
    """Wait until the disk has a file, or the names of the files in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def within(folder: Path, path: Path) -> str:
    """A path relative to `folder` if it lies in it, so that it stays valid if that is moved."""
    absolute, folder = path.absolute(), folder.resolve()
    resolved = absolute.parent.resolve() / absolute.name
    return str(resolved.relative_to(folder) if resolved.is_relative_to(folder) else absolute)


def write_json(path: Path, content: Mapping[str, Any], *, durable: bool = False) -> None:
    """Write a JSON file that people read too, indented and without secrets, in one step.

    It carries the version of its format. See `replace_file` for `durable`.

    Raises:
        OSError: the file cannot be written; what was there before stays untouched.
    """
    text = json_text({"format": FORMAT, **redacted(content)})
    replace_file(path, f"{text}\n", private=False, durable=durable)


def json_text(content: Any) -> str:
    """Indented JSON that every program reads.

    JSON has no NaN and no infinities: they are the texts "NaN", "Infinity" and "-Infinity", which
    `float` understands.
    """
    return json.dumps(_plain(content), indent=2, default=str, allow_nan=False)


def _plain(value: Any) -> Any:
    """A value with Python's numbers in place of NumPy's, and texts for those that JSON has not."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    return json.dumps(value) if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: Path) -> dict[str, Any] | None:
    """The content of a JSON file; None if there is no such file.

    Raises:
        FileError: the file is no JSON object, lacks a key, or is of a newer version.
        OSError: the file cannot be read.
    """
    remedy = REMEDIES.get(path.name, "")
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise FileError(f"{path} is not valid JSON: {error}{remedy}") from None
    if not isinstance(content, dict):
        raise FileError(f"{path} is no JSON object{remedy}")
    check_format(str(path), content.get("format", FORMAT))
    if lacking := [key for key in KEYS.get(path.name, ()) if key not in content]:
        raise FileError(f"{path} has no {', '.join(lacking)}{remedy}")
    return content


def read_result(folder: Path) -> dict[str, Any] | None:
    """The content of a run's `result.json`; see `read_json`."""
    content = read_json(folder / RESULT)
    if content is not None and (result := content["result"]) is not None:
        content["value"] = result["primary_metric"] = float(result["primary_metric"])
        result["metrics"] = {name: float(value) for name, value in result["metrics"].items()}
        model = result.get("best_model_path")
        if model and (folder / model).exists():  # else an older explr wrote it as it was returned
            result["best_model_path"] = str(folder.absolute() / model)
    return content


def check_format(where: str, version: Any) -> None:
    """Check that this explr can read a file.

    Args:
        where: the file, or what else has the format.
        version: the version of the format.

    Raises:
        FileError: it is of a newer explr.
    """
    if not isinstance(version, int) or version > FORMAT:
        raise FileError(
            f"{where} was written by a newer explr (format {version}, this one reads up to "
            f"{FORMAT}): update explr"
        )


Trial = TypeVar("Trial", bound=Mapping[str, Any])
"""A trial as `results.json` or `result.json` has it."""


def best_first(trials: Iterable[Trial], minimize: bool) -> list[Trial]:
    """The completed trials that satisfy the constraints, the best one first.

    Args:
        trials: trials with a `state` and a `value`; of those that were trained again with fresh
            seeds `standing` has their place, and those that did so are left out.
        minimize: whether smaller values are better.
    """
    sign = 1 if minimize else -1
    counted = [t for t in trials if t.get("confirms") is None and t.get("feasible", True)]
    complete = [t for t in counted if t["state"] == "COMPLETE"]
    return sorted(complete, key=lambda t: (t.get("standing", math.inf), sign * t["value"]))


def trials_that_ran(folder: Path, first: int = 0) -> list[int]:
    """Numbers of the trials, from `first` on, that have run in the folder of a sweep."""
    numbers = sorted(number for number in trial_numbers(folder) if number >= first)
    return [number for number in numbers if holds_run(run_folder(folder / str(number)))]


def trial_numbers(folder: Path) -> list[int]:
    """Numbers of the trials that have a folder in that of a sweep; none if there is no such."""
    if not folder.is_dir():
        return []
    return [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]


def grid_trials(folders: Iterable[Path]) -> list[dict[str, Any]]:
    """The trials of a grid: the content of each `result.json`, with the trial's folder as `dir`."""
    found = ((folder, read_result(folder)) for folder in folders)
    return [{**content, "dir": str(folder)} for folder, content in found if content is not None]


def common_folder(folders: Sequence[Path]) -> Path:
    """The folder that holds the folders of all trials, each of which may lie deeper."""
    return Path(os.path.commonpath([folder.parent for folder in folders]))


def best_of_grid(trials: Sequence[Trial]) -> Trial | None:
    """The best of the trials that `grid_trials` found; None if none is complete."""
    minimize = next((trial["result"]["minimize"] for trial in trials if trial["result"]), True)
    return next(iter(best_first(trials, minimize)), None)


def run_folder(trial: Path) -> Path:
    """The folder of the run that stands for a trial: with replicates, that of the first one."""
    first = trial / "0"
    return first if first.is_dir() and not holds_run(trial) else trial


def holds_run(folder: Path) -> bool:
    """Whether a folder has a file that a run leaves."""
    own = any((folder / name).exists() for name in (RESULT, JOB, ".hydra"))
    return own or any(folder.glob("journal-*.jsonl")) or saved_in(folder) is not None


def saved_in(run: Path) -> Path | None:
    """The folder in a run's folder that Hydra saved its files in; None if it saved none.

    It is `.hydra` unless `hydra.output_subdir` names another one, or is null.
    """
    places = (run / ".hydra", run, *run.glob("[!0-9]*/"))
    return next((folder for folder in places if (folder / "hydra.yaml").is_file()), None)


@dataclass(frozen=True)
class BestTrial:
    """The best trial of a sweep.

    Args:
        number: its number.
        trials: number of trials in the sweep.
        folder: its folder.
        params: its values by parameter.
        metric: name of the objective.
        value: value of the objective.
        model: where the training saved its best model; None if it saved none.
        run_id: id of its run in MLflow; "" if unknown.
        note: a line on why it is the best; "" if that needs none.
    """

    number: int
    trials: int
    folder: Path
    params: dict[str, Any]
    metric: str
    value: float
    model: Path | None
    run_id: str = ""
    note: str = ""


def best_trial(folder: Path, own: bool = True) -> BestTrial | None:
    """The best trial of the sweep in `folder`, a tuner's or a grid's.

    Args:
        folder: folder of the sweep.
        own: its trials are explr's own; another app may have another kind of `result.json`.

    Returns:
        The trial; None if no trial is complete, or the sweep has several objectives.
    """
    results = read_json(folder / RESULTS)
    if results is not None:
        trials, best = results["trials"], results["best"]
        if lost := trials_that_ran(folder, len(trials)):
            log.warning(
                "%s does not know trial %d, which has run: it is written when the sweep ends; "
                "`explr resume` resumes one that was killed",
                folder / RESULTS,
                lost[0],
            )
    else:
        trials = grid_trials(file.parent for file in sorted(folder.glob(f"*/{RESULT}")))
        best = best_of_grid(trials)
    if best is None:
        return None
    place = run_folder(folder / str(best["number"])) if results is not None else Path(best["dir"])
    return as_best(best, len(trials), place, read_result(place) if own else None)


def as_best(
    best: Trial, trials: int, place: Path, written: Mapping[str, Any] | None, note: str = ""
) -> BestTrial:
    """A trial as the best of its sweep.

    Args:
        best: the trial.
        trials: number of trials in the sweep.
        place: folder of the trial's run.
        written: the `result.json` of the run; None if it has none.
        note: see `BestTrial`.
    """
    result = (written or {}).get("result") or {}
    model = result.get("best_model_path")
    return BestTrial(
        best["number"],
        trials,
        place,
        best["params"],
        str(result.get("primary_metric_name", "objective")),
        float(best["value"]),
        Path(model) if model else None,
        str(best.get("run_id") or ""),
        note,
    )
