"""All that is known of a sweep, while it runs and afterwards."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from explr.core.errors import UsageError
from explr.core.folders import RESULTS
from explr.core.secrets import redacted
from explr.tracking.callback import tracking_uri_of
from explr.tracking.destination import absolute_uri
from explr.tracking.journal.journal import first_event, journals_in
from explr.tracking.journal.position import read_position
from explr.tracking.shipping.sink import Sink
from explr.tracking.shipping.sinks import sink_for
from explr.tuning.storage import STUDY_FILE, read_study
from explr.tuning.study import ATTEMPTS, PARAMS, REASON

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial


COMMAND = "sweep.json"
"""Where a sweep's folder keeps the command that began it."""


@dataclass(frozen=True)
class TrialView:
    """A trial as Optuna holds it, and what the sweep's folder knows beyond that.

    Args:
        frozen: number, state, ranges, values by step, times.
        params: what the values of its parameters stand for.
        values: value of each objective; of a pruned trial the last that it reported.
        attempts: how often it was started.
        reason: why it ended early.
        address: of its run in MLflow's UI, None where that is not known.
        run_id: of its run in MLflow, "" where that is not known.
    """

    frozen: FrozenTrial
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
        """Its state, in Optuna's words."""
        return self.frozen.state.name

    @property
    def is_complete(self) -> bool:
        """Whether it came to its end."""
        return self.state == "COMPLETE"


@dataclass(frozen=True)
class SweepView:
    """A sweep.

    Args:
        folder: its folder.
        study: its study.
        metrics: name of each objective.
        trials: its trials, by number.
        command: the command that made it, "" where that is not known.
        environment: where it ran, by name.
    """

    folder: Path
    study: Study
    metrics: Sequence[str]
    trials: Sequence[TrialView]
    command: str
    environment: Mapping[str, str]

    @property
    def minimize(self) -> list[bool]:
        """For each objective, whether less is better."""
        return [direction.name == "MINIMIZE" for direction in self.study.directions]

    @cached_property
    def complete(self) -> list[TrialView]:
        """The trials that came to their end."""
        return [trial for trial in self.trials if trial.is_complete]

    @cached_property
    def best(self) -> frozenset[int]:
        """Numbers of the best trials: one, or with several objectives the Pareto front."""
        if not self.complete:
            return frozenset()
        return frozenset(trial.number for trial in self.study.best_trials)


def read_sweep(folder: Path, study: Study | None = None) -> SweepView:
    """Read the sweep in a folder; another process may be running it.

    Args:
        folder: folder of the sweep.
        study: its study; None reads it.

    Raises:
        UsageError: there is no study, or it cannot be read.
    """
    saved = _json(folder / RESULTS)
    command = _json(folder / COMMAND)
    config = _config(folder)
    if study is None:
        study = stored_study(folder)
    rows = {row["number"]: row for row in saved.get("trials", ())}
    uri = tracking_uri_of(config)
    sink = sink_for(uri) if uri is not None else None
    trials = [
        _trial(frozen, rows.get(frozen.number, {}), folder / str(frozen.number), sink)
        for frozen in study.get_trials(deepcopy=False)
    ]
    return SweepView(
        folder,
        study,
        _metrics(config, len(study.directions)),
        trials,
        str(saved.get("command") or _typed(command)),
        _environment(folder),
    )


def _trial(
    frozen: FrozenTrial, row: Mapping[str, Any], folder: Path, sink: Sink | None
) -> TrialView:
    state = frozen.state.name
    values = frozen.values or []
    if not values and state == "PRUNED" and frozen.intermediate_values:
        values = [frozen.intermediate_values[max(frozen.intermediate_values)]]
    written = row if row.get("state") == state else {}
    # With replicates, the run of the first stands for the trial.
    journals = journals_in(folder) or journals_in(folder / "0")
    positions = [position for j in journals if (position := read_position(j)).run_id]
    run_id = positions[0].run_id if positions else str(written.get("run_id") or "")
    address = sink.address(positions[0].experiment_id, run_id) if sink and positions else None
    return TrialView(
        frozen,
        redacted(written.get("params") or frozen.user_attrs.get(PARAMS) or frozen.params),
        values,
        int(frozen.user_attrs.get(ATTEMPTS, 1)),
        str(written.get("reason") or frozen.user_attrs.get(REASON, "")),
        address,
        run_id,
    )


def stored_study(folder: Path) -> Study:
    """The study of a sweep, as it stands.

    Raises:
        UsageError: there is none, or it cannot be read.
    """
    return read_study(folder, storage_of(folder), _json(folder / COMMAND).get("study"))


def storage_of(folder: Path) -> str | None:
    """Optuna storage URL of a sweep's study; None where it lies in the sweep's folder.

    Raises:
        UsageError: it lies elsewhere, and nothing is there; or no trial has begun that tells where.
    """
    command = _json(folder / COMMAND)
    config = _config(folder)
    if command and not config and not (folder / STUDY_FILE).exists():
        raise UsageError(f"the sweep in {folder} has begun no trial yet")
    url = OmegaConf.select(config, "hydra.sweeper.storage")
    if url is None:
        return None
    # Relative to where the sweep was begun.
    url = absolute_uri(str(url), Path(command.get("cwd", ".")))
    path = url.partition(":///")[2].partition("?")[0]
    if url.startswith("sqlite") and not Path(path).exists():  # Optuna would make one
        raise UsageError(f"the study of {folder} lay in {path}, and is gone")
    return url


def _config(folder: Path) -> DictConfig:
    """The config of a trial, with Hydra's own; empty where no trial has begun."""
    saved = sorted(folder.glob("*/.hydra")) or sorted(folder.glob("*/0/.hydra"))
    config = OmegaConf.create()
    for name in ("config.yaml", "hydra.yaml"):
        if saved and (file := saved[0] / name).exists():
            config.merge_with(OmegaConf.load(file))
    return config


def _metrics(config: DictConfig, count: int) -> list[str]:
    named = OmegaConf.select(config, "objective.metric")
    names = [named] if isinstance(named, str) else list(named or ())
    if len(names) != count:  # an app of somebody's, which names none
        names = ["objective"] if count == 1 else [f"objective {i}" for i in range(count)]
    return [str(name) for name in names]


def _environment(folder: Path) -> dict[str, str]:
    """Where the sweep ran, as its journal tells; nothing of one that was not tracked."""
    starts = [first_event(journal) for journal in journals_in(folder)]
    tags = starts[-1]["g"] if starts and starts[-1] else {}
    names = {key: key.removeprefix("explr.").removeprefix("mlflow.source.") for key in tags}
    left_out = ("explr.command", "explr.kind", "mlflow.source.type", "mlflow.source.name")
    return {names[key]: str(value) for key, value in tags.items() if key not in left_out}


def _typed(command: Mapping[str, Any]) -> str:
    words = [str(word) for word in command.get("argv", ())]
    if words and Path(words[0]).name == "explr":
        words[0] = "explr"
    return shlex.join(words)


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    assert isinstance(content, dict)
    return content
