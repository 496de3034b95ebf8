"""Records one training, from before it starts until it has really ended."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from explr.config.defaults import untouched_defaults
from explr.core.config import ROOT_KEYS
from explr.core.folders import RESULT
from explr.core.protocols import Hyperparameters, TrainingResult
from explr.core.tracker import Tracker
from explr.runner.hyperparameters import WatchedHyperparameters
from explr.runner.prepare import Prepared
from explr.tracking.data.hashes import DataHash
from explr.tracking.data.record import log_data
from explr.tracking.destination import Destination
from explr.tracking.journal.journal import journals_in
from explr.tracking.journal.lines import read_events
from explr.tracking.mlflow.titles import run_name, trial_name
from explr.tracking.null import NullTracker
from explr.tracking.provenance import provenance_of
from explr.tracking.run import TrackedRun, open_run
from explr.tracking.sweeps import Sweep, current

log = logging.getLogger("explr")


@contextmanager
def recorded(
    training: Prepared,
    folder: Path,
    first_files: tuple[Path, ...],
    last_files: tuple[Path, ...],
    overrides: Iterable[str] | None = None,
    resumes: bool = False,
    data: Sequence[DataHash] = (),
) -> Iterator[tuple[Tracker, TrackedRun | None, dict[str, Any]]]:
    """Yield a tracker, the record and the hyperparameters of a training.

    The record is closed with the training's status. Hyperparameters that only explr's own search
    space gives, for its examples, are recorded when the training reads them.

    Args:
        training: the training to record.
        folder: folder of the run.
        first_files: files to record as they are when the run starts.
        last_files: files to record as they are when the run ends.
        overrides: what the config was composed of; None if that is not known.
        resumes: it goes on with the run that the folder holds.
        data: the data that it reads.
    """
    destination = Destination.in_config(training.config.tracking)
    values = training.config.hyperparameters
    if destination is None:
        yield NullTracker(), None, Hyperparameters(values)
        return
    defaults = untouched_defaults(values, overrides or ())
    sweep = current()
    run = open_run(
        folder,
        destination.beside(sweep),
        experiment=training.experiment,
        name=_run_name(folder, overrides, sweep, training.params, defaults),
        params=_recorded_params(training, defaults),
        tags={
            **provenance_of(sweep),
            "explr.framework": training.framework.name,  # the parameter may be `auto`
            "explr.kind": "trial" if sweep else "run",
        },
        parent=sweep.journal if sweep else None,
        first_files=first_files,
        last_files=(*last_files, folder / RESULT),
        resumes=resumes if sweep is None else sweep.keeps_folders,
    )

    log_data(run.tracker, data)

    def record(names: Iterable[str]) -> None:
        if run.status is None:  # else somebody has kept them
            run.tracker.log_params({name: training.params[name] for name in names})

    try:
        yield run.tracker, run, WatchedHyperparameters.watched(values, defaults, record)
        from explr.utils.readings import peak_memory

        run.tracker.log_metrics(peak_memory(training.config.framework.processes > 1))
    except Exception:
        run.close("FAILED")
        raise
    except BaseException:
        run.close("KILLED")
        raise
    run.close("FINISHED")


def _run_name(
    folder: Path,
    overrides: Iterable[str] | None,
    sweep: Sweep | None,
    params: Mapping[str, Any],
    defaults: AbstractSet[str],
) -> str:
    if overrides is None:  # from Python: what differs from the bundled defaults
        overrides = [f"{name}={value}" for name, value in params.items() if name not in defaults]
    if sweep is None:
        return run_name(folder, overrides)
    return trial_name(folder, overrides, sweep.overrides)


def _recorded_params(training: Prepared, left_out: frozenset[str]) -> dict[str, Any]:
    """The hyperparameters with their resolved values, and the other settings as written."""
    written = OmegaConf.to_container(training.cfg, enum_to_str=True)
    assert isinstance(written, dict)
    rest = {str(key): written[key] for key in written if key in ROOT_KEYS - {"hydra"}}
    rest["objective"]["direction"] = training.config.objective.direction
    if not training.config.data.listed:
        rest.pop("data", None)
    return {
        **{name: value for name, value in training.params.items() if name not in left_out},
        **rest,
        "experiment_name": training.experiment,
        "train_model": training.train_model_name,
        "device": training.device,
    }


def logged_values(folder: Path, metric: str) -> list[float]:
    """The values of a metric that a run has recorded, by its earlier attempts and helpers too.

    Args:
        folder: folder of the run.
        metric: name of the metric.
    """
    values: list[float] = []
    for journal in journals_in(folder):
        for event, _ in read_events(journal):
            if event["k"] == "start" and event["after"] is None:  # a new run in the same folder
                values = []
            elif event["k"] == "metrics" and metric in event["m"] and event["s"] is not None:
                values.append(float(event["m"][metric]))
    return values


def register_best(tracked: TrackedRun, result: TrainingResult) -> None:
    """Register the best model of a run, if its destination asks for it.

    Args:
        tracked: record of the run.
        result: what the training returned.
    """
    name = tracked.destination.register
    if name is None:
        return
    if result.best_model_path is None or not Path(result.best_model_path).exists():
        where = result.best_model_path or "best_model_path"
        log.warning("nothing is registered as %s: there is no model at %s", name, where)
        return
    about = f"{result.primary_metric_name} {result.primary_metric:.6g}"
    tracked.register(name, Path(result.best_model_path), about)
