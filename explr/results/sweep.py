"""Reads the folder of a sweep, while the sweep runs and afterwards."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from explr.config.nodes import is_own_tree
from explr.config.saved import take_names_of
from explr.core.errors import UsageError
from explr.core.folders import (
    MULTIRUN,
    RESULTS,
    read_json,
    run_folder,
    saved_in,
    trial_numbers,
)
from explr.core.secrets.masking import redacted
from explr.results.command import SweepCommand, command_of, sweep_command
from explr.results.grid import read_grid
from explr.results.trial import TrialView, read_trial
from explr.tracking.callback import tracking_uri_of
from explr.tracking.destination import absolute_uri
from explr.tracking.journal.journal import first_event, journals_in
from explr.tracking.shipping.sinks import sink_for
from explr.tuning.confirmation.confirming import leading_trials
from explr.tuning.storage.journal import STUDY_FILE
from explr.tuning.storage.opening import incomplete, lost_trials, read_study, study_storage

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage

log = logging.getLogger(__name__)


def started_by(folder: Path) -> SweepCommand | None:
    """The command that started the sweep or the grid in a folder; None if that is not known."""
    grid = read_grid(folder)
    return command_of(grid.command, folder) if grid and grid.command else sweep_command(folder)


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
        return frozenset(trial.number for trial in leading_trials(self.study))


def read_sweep(folder: Path, study: Study | None = None) -> SweepView:
    """Read the sweep in a folder, which another process may be running.

    Args:
        folder: folder of the sweep.
        study: its study; None reads it from its storage.

    Raises:
        UsageError: there is no study, or it cannot be read.
    """
    config = sweep_config(folder)
    uri = tracking_uri_of(config)
    sink = sink_for(uri) if uri is not None else None
    own = not config or is_own_tree(config)
    # Looked for first: a trial is in the study before it has a folder.
    last = max(trial_numbers(folder), default=-1)
    grid = read_grid(folder) if study is None else None
    study = study or (grid.study(folder.resolve().name) if grid else stored_study(folder))
    if grid is not None:
        rows, metrics = grid.rows, grid.metrics
        command = str(command_of(grid.command, folder)) if grid.command else ""
    else:
        results = read_json(folder / RESULTS) or {}
        rows = {row["number"]: row for row in results.get("trials", ())}
        metrics = objective_names(config, len(study.directions))
        command = str(results.get("command") or sweep_command(folder) or "")
        if lost := [number for number in lost_trials(folder, study) if number <= last]:
            said = incomplete(folder, study, lost)
            log.warning("%s: only the trials that are left are shown", said)
    trials = []
    for frozen in study.get_trials(deepcopy=False):
        row = rows.get(frozen.number, {})
        place = Path(row["dir"]) if grid else folder / str(frozen.number)
        trial = read_trial(frozen, place, row, sink, own)
        trials.append(replace(trial, params=redacted(trial.params)))
    return SweepView(folder, study, metrics, trials, command, _environment(folder))


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


def storage_in(folder: Path) -> BaseStorage:
    """The storage of the study of a sweep or a grid, as optuna-dashboard takes it.

    Raises:
        UsageError: there is no study, or it cannot be read.
    """
    from optuna.storages import InMemoryStorage

    if (grid := read_grid(folder)) is not None:
        storage = InMemoryStorage()
        grid.study(folder.resolve().name, storage)
        return storage
    stored_study(folder)  # raises what is wrong with it
    return study_storage(folder, storage_of(folder))


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
    take_names_of(config)
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
