"""Reads the folder of a sweep, while the sweep runs and afterwards."""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from explr.config.nodes import is_own_tree
from explr.core.errors import FileError, UsageError
from explr.core.folders import (
    COMMAND,
    MULTIRUN,
    RESULTS,
    read_json,
    read_result,
    run_folder,
    saved_in,
    trial_numbers,
)
from explr.core.secrets import redacted
from explr.tracking.callback import tracking_uri_of
from explr.tracking.destination import absolute_uri
from explr.tracking.journal.journal import first_event, journals_in
from explr.tracking.shipping.run_ids import position_of_run
from explr.tracking.shipping.sink import Sink
from explr.tracking.shipping.sinks import sink_for
from explr.tuning.optuna_private import best_trials
from explr.tuning.storage import STUDY_FILE, incomplete, lost_trials, read_study
from explr.tuning.study import ATTEMPTS, PARAMS, PAUSED, REASON

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SweepCommand:
    """The command that started a sweep, as the sweep's folder keeps it.

    Args:
        study: name of the sweep's study.
        cwd: the working directory, where the project is now.
        argv: arguments of the Python interpreter; None if the sweep was started from Python.
        moved_from: the working directory where it started, if the project was moved or copied.
        is_lost: where the project is now cannot be told; then `cwd` is where it was.
    """

    study: str
    cwd: Path
    argv: Sequence[str] | None
    moved_from: Path | None = None
    is_lost: bool = False

    def here(self, text: str) -> str:
        """A text of the sweep's files, with paths of the project as they are now."""
        if self.moved_from is None:
            return text
        old = rf"(?<!\w){re.escape(str(self.moved_from))}(?![\w.-])"
        return re.sub(old, lambda _: str(self.cwd), text)

    def __str__(self) -> str:
        """The command as one would type it; "" if there was none."""
        words = list(self.argv or ())
        if words and Path(words[0]).name == "explr":
            words[0] = "explr"
        elif words and (words[0].startswith("-") or words[0].endswith(".py")):
            words.insert(0, "python")
        return shlex.join(words)


def sweep_command(folder: Path) -> SweepCommand | None:
    """The command that started the sweep in a folder; None if a grid or nothing lies there."""
    content = read_json(folder / COMMAND)
    if content is None:
        return None
    before, argv = Path(content["cwd"]), content.get("argv")
    cwd = _place_now(folder.resolve(), before, content.get("folder"))
    if cwd is None:
        return SweepCommand(content["study"], before, argv, is_lost=True)
    if cwd == before:
        return SweepCommand(content["study"], cwd, argv)
    command = SweepCommand(content["study"], cwd, None, before)
    return replace(command, argv=argv and [command.here(word) for word in argv])


def _place_now(folder: Path, before: Path, within: str | None) -> Path | None:
    """The working directory of a sweep, which may have been moved or copied with its folder.

    Args:
        folder: folder of the sweep.
        before: the working directory where the sweep started.
        within: path of the folder from there; None if an older explr did not keep it.

    Returns:
        The directory; None if it cannot be told.
    """
    is_inside = folder.is_relative_to(before.resolve())
    if within is None or (before / within).resolve() == folder:
        return before if before.is_dir() else None
    parts = Path(within).parts
    if folder.parts[-len(parts) :] != parts:
        return before if is_inside else None  # renamed
    # Inside, it may be a copy of the project, or only of its sweeps.
    return None if is_inside else Path(*folder.parts[: -len(parts)])


@dataclass(frozen=True)
class TrialView:
    """A trial in Optuna's study, with more from the sweep's folder.

    Args:
        frozen: the trial in Optuna's study: state, ranges, values by step, times.
        folder: its folder.
        params: the parameter values that the sampled values stand for.
        values: value of each objective; for a pruned trial the last reported value.
        attempts: number of times it was started.
        reason: why it was pruned or failed.
        address: address of its run in MLflow's UI; None if unknown.
        run_id: id of its run in MLflow; "" if unknown.
    """

    frozen: FrozenTrial
    folder: Path
    params: Mapping[str, Any]
    values: Sequence[float]
    attempts: int = 1
    reason: str = ""
    address: str | None = None
    run_id: str = ""

    @property
    def number(self) -> int:
        """Its number."""
        return self.frozen.number

    @property
    def state(self) -> str:
        """Its state in Optuna's words."""
        return self.frozen.state.name

    @property
    def is_complete(self) -> bool:
        """Whether it completed."""
        return self.state == "COMPLETE"

    @property
    def duration_s(self) -> float | None:
        """Seconds trained, over all its attempts; None while it runs."""
        if (duration := self.frozen.duration) is None:
            return None
        paused_s: float = self.frozen.user_attrs.get(PAUSED, 0.0)
        return max(0.0, duration.total_seconds() - paused_s)

    def row(self) -> dict[str, Any]:
        """The trial as a row of `results.json`."""
        values = list(self.values)
        return {
            "number": self.number,
            "state": self.state,
            "params": self.params,
            "value": values if len(values) > 1 else next(iter(values), None),
            "steps": len(self.frozen.intermediate_values),
            "duration_s": self.duration_s,
            "dir": str(self.folder),
            "run_id": self.run_id or None,
            "attempts": self.attempts,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class SweepView:
    """A sweep.

    Args:
        folder: its folder.
        study: its study.
        metrics: name of each objective.
        trials: its trials, ordered by number.
        command: the command that started it; "" if unknown.
        environment: the machine and the versions that it ran with, by name.
    """

    folder: Path
    study: Study
    metrics: Sequence[str]
    trials: Sequence[TrialView]
    command: str
    environment: Mapping[str, str]

    @property
    def minimize(self) -> list[bool]:
        """For each objective whether smaller values are better."""
        return [direction.name == "MINIMIZE" for direction in self.study.directions]

    @cached_property
    def complete(self) -> list[TrialView]:
        """The completed trials."""
        return [trial for trial in self.trials if trial.is_complete]

    @cached_property
    def best(self) -> frozenset[int]:
        """Numbers of the best trials: one, or with several objectives the Pareto front."""
        if not self.complete:
            return frozenset()
        return frozenset(trial.number for trial in best_trials(self.study))


def read_sweep(folder: Path, study: Study | None = None) -> SweepView:
    """Read the sweep in a folder, which another process may be running.

    Args:
        folder: folder of the sweep.
        study: its study; None reads it from its storage.

    Raises:
        UsageError: there is no study, or it cannot be read.
    """
    results = read_json(folder / RESULTS) or {}
    config = sweep_config(folder)
    # Looked for first: a trial is in the study before it has a folder.
    last = max(trial_numbers(folder), default=-1)
    if study is None:
        study = stored_study(folder)
    if lost := [number for number in lost_trials(folder, study) if number <= last]:
        log.warning("%s: only the trials that are left are shown", incomplete(folder, study, lost))
    rows = {row["number"]: row for row in results.get("trials", ())}
    uri = tracking_uri_of(config)
    sink = sink_for(uri) if uri is not None else None
    trials = [
        read_trial(frozen, folder / str(frozen.number), rows.get(frozen.number, {}), sink)
        for frozen in study.get_trials(deepcopy=False)
    ]
    return SweepView(
        folder,
        study,
        objective_names(config, len(study.directions)),
        [replace(trial, params=redacted(trial.params)) for trial in trials],
        str(results.get("command") or sweep_command(folder) or ""),
        _environment(folder),
    )


def read_trial(
    frozen: FrozenTrial, folder: Path, row: Mapping[str, Any], sink: Sink | None = None
) -> TrialView:
    """Read the files of a trial.

    Args:
        frozen: the trial in Optuna's study.
        folder: its folder.
        row: its row of `results.json`, or a part of it; ignored if the state has changed since.
        sink: where its runs are uploaded to; None if they are not.
    """
    state, attributes = frozen.state.name, frozen.user_attrs
    known = row if row.get("state", state) == state else {}
    values = frozen.values or []
    if not values and state == "PRUNED" and frozen.intermediate_values:
        values = [frozen.intermediate_values[max(frozen.intermediate_values)]]
    reason = known.get("reason") or attributes.get(REASON, "")
    if state in ("PRUNED", "FAIL") and (written := _result(folder)) is not None:
        # A training that was pruned knows best why; of a failure the controller knows more.
        told = str(written["reason"])
        reason = told or reason if state == "PRUNED" else reason or told
    position = position_of_run(folder)
    return TrialView(
        frozen,
        folder,
        attributes.get(PARAMS) or known.get("params") or frozen.params,
        values,
        int(attributes.get(ATTEMPTS, 1)),
        str(reason),
        sink.address(position.experiment_id, position.run_id) if sink and position else None,
        position.run_id if position else str(known.get("run_id") or ""),
    )


def _result(folder: Path) -> dict[str, Any] | None:
    """The `result.json` of a trial, whose study knows the same; None if it cannot be read."""
    try:
        return read_result(folder)
    except FileError as error:
        log.warning("%s", error)
        return None


def stored_study(folder: Path) -> Study:
    """The study of a sweep in its current state.

    Raises:
        UsageError: there is no study, or it cannot be read.
    """
    command = sweep_command(folder)
    return read_study(folder, storage_of(folder), command.study if command else None)


def storage_of(folder: Path) -> str | None:
    """Optuna storage URL of a sweep's study; None if the study is in the sweep's folder.

    Raises:
        UsageError: the storage is gone, or is unknown because no trial has started.
    """
    command = sweep_command(folder)
    config = sweep_config(folder)
    if command is not None and not config and not (folder / STUDY_FILE).exists():
        raise UsageError(f"the sweep in {folder} has not started a trial yet")
    url = OmegaConf.select(config, "hydra.sweeper.storage")
    if url is None:
        return None
    # The URL is relative to the working directory of the sweep.
    url = absolute_uri(str(url), command.cwd if command else Path())
    path = url.partition(":///")[2].partition("?")[0]
    if url.startswith("sqlite") and not Path(path).exists():  # Optuna would create it
        raise UsageError(f"the study of {folder} lay in {path}, and is gone")
    return url


def sweep_config(folder: Path) -> DictConfig:
    """The config of a sweep with Hydra's part; empty if nothing tells it.

    An older explr wrote none for the sweep as a whole: then it is that of a trial.
    """
    whole = folder / MULTIRUN
    trials = (run_folder(folder / str(number)) for number in sorted(trial_numbers(folder)))
    saved = None if whole.exists() else next(filter(None, map(saved_in, trials)), None)
    files = (saved / "config.yaml", saved / "hydra.yaml") if saved is not None else (whole,)
    config = OmegaConf.create()
    for file in files:
        if file.exists():
            config.merge_with(OmegaConf.load(file))
    return config


def objective_names(config: DictConfig, count: int) -> list[str]:
    """Name of each objective of a sweep.

    Args:
        config: the composed config of the sweep or of a trial.
        count: number of objectives; an app that is not explr's names none of them.
    """
    named = OmegaConf.select(config, "hydra.sweeper.metric")
    if named is None and is_own_tree(config):  # of an older explr
        named = OmegaConf.select(config, "objective.metric")
    names = [named] if isinstance(named, str) else list(named or ())
    if len(names) != count:
        names = ["objective"] if count == 1 else [f"objective {i}" for i in range(count)]
    return [str(name) for name in names]


def _environment(folder: Path) -> dict[str, str]:
    """The machine and the versions of a sweep from its journal; empty if it was not tracked."""
    starts = [first_event(journal) for journal in journals_in(folder)]
    tags = starts[-1]["g"] if starts and starts[-1] else {}
    names = {key: key.removeprefix("explr.").removeprefix("mlflow.source.") for key in tags}
    left_out = ("explr.command", "explr.kind", "mlflow.source.type", "mlflow.source.name")
    return {names[key]: str(value) for key, value in tags.items() if key not in left_out}
