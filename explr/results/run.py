"""Reads a run from its folder or from MLflow."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from explr.config.defaults import bundled_defaults
from explr.config.nodes import is_own_tree
from explr.core.errors import TrackingError, UsageError
from explr.core.folders import (
    COMMAND,
    JOB,
    REPLICATES,
    RESULT,
    RESULTS,
    holds_run,
    read_json,
    read_result,
    run_folder,
    saved_in,
)
from explr.core.secrets.masking import redacted, redacted_text
from explr.results.best import best_in
from explr.results.sweep import objective_names, read_sweep, sweep_config
from explr.tracking.data.record import recorded_data
from explr.tracking.destination import environment_uri
from explr.tracking.journal.journal import journals_in
from explr.tracking.journal.lines import read_events
from explr.tracking.mlflow.names import legal_name
from explr.tracking.mlflow.store import connect, out_of_reach
from explr.tracking.values import flatten

BEST = "best:"
"""Prefix of a sweep folder that stands for the sweep's best trial."""

NOT_OF_THE_TRAINING = ("tuner.", "tracking.", "search_space.", "system/", "explr.", "data.paths")
"""Prefixes of names that describe the search and the tracking, not the training; of data, its
hashes are compared."""

DERIVED = {"experiment_name", "objective.direction"}
"""Settings that follow from others where they are null; an untracked run has the null alone."""

Curve = list[tuple[int, float]]
"""Values of a metric by step."""


@dataclass
class RunView:
    """A run.

    Args:
        name: the name that the user gave.
        state: its state in explr's or MLflow's words; "" if unknown.
        params: its parameters, flat.
        metrics: the last value of each metric.
        curves: the values by step of each metric that has steps.
        data: the hashes of its data by path, and of what it has logged with `log_input` by name.
        is_foreign: it is a run of an app that is not explr's.
    """

    name: str
    state: str = ""
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    curves: dict[str, Curve] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)
    is_foreign: bool = False


def read_run(name: str, with_curves: bool) -> RunView:
    """Find and read a run.

    Args:
        name: folder of a run or of a trial, `best:` and the folder of a sweep, or an id in MLflow.
        with_curves: whether to read its curves; they take memory, and from MLflow a request each.

    Raises:
        UsageError: there is no such run.
        TrackingError: MLflow does not respond.
    """
    if name.startswith(BEST):
        sweep = Path(name.removeprefix(BEST))
        if not sweep.is_dir():
            raise UsageError(f"{name}: there is no folder {sweep}")
        best = best_in(sweep)
        run = _of_folder(best.folder, with_curves)
        run.name = f"{name} (trial {best.number})"
    elif Path(name).is_dir():
        run = _of_folder(Path(name), with_curves)
        run.name = name
    elif re.fullmatch(r"[0-9a-f]{32}", name):
        run = _of_mlflow(name, with_curves)
    else:
        raise UsageError(
            f"{name} is no run: name a folder, {BEST}SWEEP_DIR, or an id in MLflow, which has 32 "
            "hexadecimal digits"
        )
    left_out = ("system/", "explr.") if run.is_foreign else NOT_OF_THE_TRAINING
    run.params = _without(left_out, run.params)
    run.metrics = _without(left_out, run.metrics)
    run.curves = _without(left_out, run.curves)
    return run


def _of_folder(folder: Path, with_curves: bool) -> RunView:
    is_run = holds_run(folder)
    if (folder / COMMAND).exists() or ((folder / RESULTS).exists() and not is_run):
        raise UsageError(f"{folder} is a sweep: name one of its trials, or {BEST}{folder}")
    place = run_folder(folder)
    data = {each.path: each.hash for each in recorded_data(place)}
    run = RunView("", params=_saved_config(place), data=data)
    tags: Mapping[str, str] | None = None
    for journal in journals_in(place):
        for event, _ in read_events(journal):
            if tags is None and event["k"] == "start":
                tags = event.get("g", {})
            _take_in(run, event, with_curves)
    run.is_foreign = _is_foreign(place, tags or {})
    if run.is_foreign:
        _take_trial(run, folder)
    elif (result := read_result(place)) is not None:
        _take_result(run, result)
    if not run.state and not run.params:
        raise UsageError(f"{folder} is no run: it has neither a journal nor a {RESULT}")
    run.curves = {name: sorted(curve) for name, curve in run.curves.items()}
    return run


def _is_foreign(folder: Path, tags: Mapping[str, str]) -> bool:
    """Whether the run in a folder is of an app that is not explr's, as far as its files tell.

    Args:
        folder: that of the run.
        tags: of its journal, which count where no config is saved.
    """
    if (folder / JOB).exists():
        return True
    files = saved_in(folder)
    if files is not None:
        config: Any = OmegaConf.load(files / "hydra.yaml")
    else:  # hydra.output_subdir=null, or a sweep's trial that never began
        sweep = next((path for path in folder.parents[:2] if (path / COMMAND).exists()), None)
        config = sweep_config(sweep) if sweep is not None else OmegaConf.create()
    if not config:
        return _has_foreign_tags(tags)
    return isinstance(config, DictConfig) and not is_own_tree(config)


def _has_foreign_tags(tags: Mapping[str, str]) -> bool:
    return "explr.framework" not in tags and tags.get("explr.kind") in ("run", "trial")


def _saved_config(folder: Path) -> dict[str, str]:
    """The config that Hydra saved with a run, flat; an untracked run has no other."""
    files = saved_in(folder)
    if files is None or not (file := files / "config.yaml").exists():
        return {}
    content = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    assert isinstance(content, dict)
    named = {str(key): value for key, value in content.items()}
    return {name: str(value) for name, value in flatten(redacted(named)).items()}


def _take_in(run: RunView, event: Mapping[str, Any], with_curves: bool) -> None:
    kind = event["k"]
    if kind == "start":
        run.state = "RUNNING"
        if event["after"] is None:  # a new run in the same folder, not a new attempt
            run.metrics, run.curves = {}, {}
    elif kind == "params":
        run.params |= event["p"]
    elif kind == "metrics":
        for name, value in event["m"].items():
            run.metrics[name] = float(value)
            if with_curves and event["s"] is not None:
                run.curves.setdefault(name, []).append((event["s"], float(value)))
    elif kind == "input":
        run.data[event["d"]["name"]] = event["d"]["digest"]
    elif kind == "end":
        run.state = event["status"]


def _take_result(run: RunView, content: Mapping[str, Any]) -> None:
    run.state = content["state"]
    params = {**flatten(content["params"]), "device": content["device"]}
    run.params |= {name: str(value) for name, value in params.items()}
    result = content["result"]
    if result is not None:
        run.metrics |= result["metrics"]
        run.metrics[result["primary_metric_name"]] = result["primary_metric"]


def _take_trial(run: RunView, folder: Path) -> None:
    """Take in what a sweep or a grid of another app knows of a trial, or of a replicate of it."""
    sweep, number = folder.parent, folder.name
    values: Sequence[float]
    metrics: Sequence[str]
    steps: Mapping[int, float] = {}
    if (job := read_json(folder / JOB)) is not None:
        state, params, value = job["state"], job["params"], job["value"]
        values = value if isinstance(value, list) else [] if value is None else [value]
        metrics = objective_names(OmegaConf.create(), len(values))
    elif number.isdecimal() and (sweep / COMMAND).exists():
        view = read_sweep(sweep)
        trial = next((each for each in view.trials if each.number == int(number)), None)
        if trial is None:
            return
        state, params, values, metrics = trial.state, trial.params, trial.values, view.metrics
        steps = trial.frozen.intermediate_values
    else:
        kept = read_json(sweep / REPLICATES) or {}
        if (ended := kept.get("finished", {}).get(number)) is None:
            return
        state, params, values = "COMPLETE", kept["params"], ended["values"]
        metrics = objective_names(OmegaConf.create(), len(values))
        steps = dict(ended["reports"])
    run.state = run.state or state
    run.params = {name: str(value) for name, value in flatten(params).items()} | run.params
    run.metrics |= {name: float(value) for name, value in zip(metrics, values, strict=False)}
    if steps and len(metrics) == 1:
        run.curves.setdefault(metrics[0], list(steps.items()))


def _of_mlflow(run_id: str, with_curves: bool) -> RunView:
    uri = environment_uri()
    try:
        client = connect(uri)
        found = client.get_run(run_id)
        curves: dict[str, Curve] = {}
        for name in found.data.metrics if with_curves else ():
            if not name.startswith(NOT_OF_THE_TRAINING):
                points = client.get_metric_history(run_id, name)
                curves[name] = sorted((point.step, point.value) for point in points)
    except TrackingError:
        raise
    except Exception as error:  # databases and MLflow have their own exceptions
        if getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST":
            raise UsageError(f"there is no run {run_id} in {redacted_text(uri)}") from error
        raise TrackingError(
            f"the run {run_id} cannot be read: {out_of_reach(uri, error)}"
        ) from error
    tags = found.data.tags
    inputs = [each.dataset for each in (found.inputs.dataset_inputs if found.inputs else ())]
    return RunView(
        f"{found.info.run_name} ({run_id[:8]})",
        found.info.status,
        dict(found.data.params),
        dict(found.data.metrics),
        curves,
        data={each.name: each.digest for each in inputs},
        is_foreign=_has_foreign_tags(tags),
    )


def _without(prefixes: tuple[str, ...], values: Mapping[str, Any]) -> dict[str, Any]:
    """Values under MLflow's names, without those whose names begin in one of these ways."""
    return {
        legal_name(name): value for name, value in values.items() if not name.startswith(prefixes)
    }


def differing(runs: Iterable[RunView]) -> list[str]:
    """Parameters whose values differ between runs, in the order of the runs.

    A training of explr's that has not read a default of the examples has not recorded it.
    """
    runs = list(runs)
    default = {name: str(value) for name, value in bundled_defaults().items()}
    every = [run.params if run.is_foreign else default | run.params for run in runs]
    names = dict.fromkeys(name for run in runs for name in run.params)
    values = {name: {params.get(name) for params in every} for name in names}
    for name in DERIVED & values.keys():
        values[name] -= {str(None)}
    return [name for name in names if len(values[name]) > 1]


def differing_data(runs: Iterable[RunView]) -> list[str]:
    """Paths and names of data that is not the same in all runs, or that only some of them have."""
    runs = list(runs)
    names = dict.fromkeys(name for run in runs for name in run.data)
    return [name for name in names if len({run.data.get(name) for run in runs}) > 1]
