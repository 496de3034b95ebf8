"""Reads a run from its folder or from MLflow."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from explr.config.defaults import bundled_defaults
from explr.core.errors import TrackingError, UsageError
from explr.core.folders import (
    RESULT,
    RESULTS,
    best_trial,
    read_result,
    run_folder,
    saved_in,
)
from explr.core.secrets import redacted, redacted_text
from explr.tracking.destination import environment_uri
from explr.tracking.journal.journal import journals_in
from explr.tracking.journal.lines import read_events
from explr.tracking.mlflow.names import legal_name
from explr.tracking.mlflow.store import connect, out_of_reach
from explr.tracking.values import flatten

BEST = "best:"
"""Prefix of a sweep folder that stands for the sweep's best trial."""

NOT_OF_THE_TRAINING = ("system/", "explr.")
"""Prefixes of names that describe the machine and the tracking, not the training."""

NOT_OF_OWN_TRAINING = (*NOT_OF_THE_TRAINING, "tuner.", "tracking.", "search_space.")
"""The same where explr's own training has run; in another app these are names like others."""

OWN_TAG = "explr.framework"
"""Tag that only explr's own trainings have."""

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
        own: whether explr's own training has run, and not another app's.
    """

    name: str
    state: str = ""
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    curves: dict[str, Curve] = field(default_factory=dict)
    own: bool = False

    def of_the_training(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values under MLflow's names, without those of the search and of the tracking."""
        left_out = NOT_OF_OWN_TRAINING if self.own else NOT_OF_THE_TRAINING
        named = {legal_name(name): value for name, value in values.items()}
        return {name: value for name, value in named.items() if not name.startswith(left_out)}


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
        best = best_trial(sweep) if sweep.is_dir() else None
        if best is None:
            raise UsageError(
                f"{name}: no trial below {sweep} is complete, or several objectives rule it out"
            )
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
    run.params = run.of_the_training(run.params)
    run.metrics = run.of_the_training(run.metrics)
    run.curves = run.of_the_training(run.curves)
    return run


def _of_folder(folder: Path, with_curves: bool) -> RunView:
    if (folder / RESULTS).exists():
        raise UsageError(f"{folder} is a sweep: name one of its trials, or {BEST}{folder}")
    place = run_folder(folder)
    run = RunView("", params=_saved_config(place))
    begun = False
    for journal in journals_in(place):
        for event, _ in read_events(journal):
            begun = True
            _take_in(run, event, with_curves)
    if (result := read_result(place)) is not None:
        begun = True
        _take_result(run, result)
    if not begun:
        raise UsageError(f"{folder} is no run: it has neither a journal nor a {RESULT}")
    run.curves = {name: sorted(curve) for name, curve in run.curves.items()}
    return run


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
        run.state, run.own = "RUNNING", OWN_TAG in event.get("g", ())
        if event["after"] is None:  # a new run in the same folder, not a new attempt
            run.metrics, run.curves = {}, {}
    elif kind == "params":
        run.params |= event["p"]
    elif kind == "metrics":
        for name, value in event["m"].items():
            run.metrics[name] = float(value)
            if with_curves and event["s"] is not None:
                run.curves.setdefault(name, []).append((event["s"], float(value)))
    elif kind == "end":
        run.state = event["status"]


def _take_result(run: RunView, content: Mapping[str, Any]) -> None:
    run.state, run.own = content["state"], True
    params = {**flatten(content["params"]), "device": content["device"]}
    run.params |= {name: str(value) for name, value in params.items()}
    result = content["result"]
    if result is not None:
        run.metrics |= result["metrics"]
        run.metrics[result["primary_metric_name"]] = result["primary_metric"]


def _of_mlflow(run_id: str, with_curves: bool) -> RunView:
    uri = environment_uri()
    try:
        client = connect(uri)
        found = client.get_run(run_id)
        run = RunView(
            f"{found.info.run_name} ({run_id[:8]})",
            found.info.status,
            dict(found.data.params),
            dict(found.data.metrics),
            own=OWN_TAG in found.data.tags,
        )
        for name in run.of_the_training(run.metrics) if with_curves else ():
            points = client.get_metric_history(run_id, name)
            run.curves[name] = sorted((point.step, point.value) for point in points)
    except TrackingError:
        raise
    except Exception as error:  # databases and MLflow have their own exceptions
        if getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST":
            raise UsageError(f"there is no run {run_id} in {redacted_text(uri)}") from error
        raise TrackingError(
            f"the run {run_id} cannot be read: {out_of_reach(uri, error)}"
        ) from error
    return run


def differing(runs: Sequence[RunView]) -> list[str]:
    """Parameters whose values differ between runs, in the order of the runs.

    A training of explr's that has not read a default of the examples has not recorded it.
    """
    default = {name: str(value) for name, value in bundled_defaults().items()}
    every = [(default if run.own else {}) | run.params for run in runs]
    names = dict.fromkeys(name for run in runs for name in run.params)
    return [name for name in names if len({params.get(name) for params in every}) > 1]
