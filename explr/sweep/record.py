"""The run that records a sweep as a whole."""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from explr.core.errors import ConfigError
from explr.tracking.callback import MLflowCallback
from explr.tracking.destination import Destination, absolute_uri
from explr.tracking.home import explr_home
from explr.tracking.journal.journal import journals_in
from explr.tracking.journal.position import Position, read_position
from explr.tracking.run import TrackedRun
from explr.tuning.lock import sole_controller

TRACKING_URI = "MLFLOW_TRACKING_URI"

POLL_S = 0.02
"""Seconds between two looks at what MLflow has."""

STATES = ("COMPLETE", "PRUNED", "FAIL", "RUNNING")


def refuse_shared_store(storage: str | None, config: DictConfig) -> None:
    """Make sure that Optuna and MLflow keep their tables apart; each would break the other's.

    Args:
        storage: Optuna storage URL.
        config: composed config of the sweep.

    Raises:
        ConfigError: it is the database that MLflow's runs go to.
    """
    if storage is None:
        return
    callbacks = OmegaConf.select(config, "hydra.callbacks") or {}
    named = [OmegaConf.select(node, "uri") for node in callbacks.values()]
    stores = {Destination(uri).resolved_uri for uri in [*named, os.environ.get(TRACKING_URI), None]}
    if _database(storage) in {_database(uri) for uri in stores}:
        raise ConfigError(
            [
                f"tuner.storage={storage} is the database that MLflow's runs go to: "
                "name another file for the study"
            ]
        )


def sole_study(storage: str, name: str) -> AbstractContextManager[None]:
    """Hold the lock of a study that lies in a storage of its own, on this machine.

    Args:
        storage: Optuna storage URL.
        name: name of the study.

    Raises:
        UsageError: another sweep searches in it.
    """
    digest = hashlib.sha256(f"{_database(storage)}\n{name}".encode()).hexdigest()
    folder = explr_home() / "studies" / digest[:16]
    folder.mkdir(parents=True, exist_ok=True)
    return sole_controller(folder, f"the study {name} in {storage}")


def _database(url: str) -> str:
    """A database's URL, the same whichever driver and relative path it is written with."""
    scheme, _, rest = absolute_uri(url, Path.cwd()).partition("://")
    return f"{scheme.partition('+')[0]}://{rest.partition('?')[0]}"


def open_record(context: HydraContext, config: DictConfig) -> TrackedRun | None:
    """Open the sweep's own run; None where the app is not tracked.

    Raises:
        TrackingError: it cannot be recorded.
    """
    for callback in context.callbacks.callbacks:
        if isinstance(callback, MLflowCallback):
            return callback.open_sweep(config, keeps_folders=True)
    return None


def note_failure(record: TrackedRun | None, error: Exception) -> None:
    """Record why a sweep failed."""
    if record is not None:
        record.tracker.set_tag("explr.reason", str(error).rstrip().rpartition("\n")[2])


def await_run_ids(record: TrackedRun | None, folders: Iterable[Path]) -> None:
    """Wait until each trial has its run in MLflow, `drain_timeout_s` at most.

    The end of a sweep waits for these runs in any case; it is left what remains of the time.

    Args:
        record: the sweep's own run.
        folders: folders of trainings that were recorded.
    """
    if record is None:
        return
    deadline = time.monotonic() + record.destination.drain_timeout_s
    begun = [journals[0] for folder in folders if (journals := journals_in(folder))]
    if _lacking(begun):
        record.keep_shipping()
    while (lacking := _lacking(begun)) and time.monotonic() < deadline:
        if all(position.stuck for position in lacking):
            break  # it is not there, or refuses them
        time.sleep(POLL_S)
    left = max(0.0, deadline - time.monotonic())
    record.destination = replace(record.destination, drain_timeout_s=left)


def _lacking(journals: list[Path]) -> list[Position]:
    """Where those journals stand whose run is not in MLflow yet."""
    positions = [read_position(journal) for journal in journals]
    return [position for position in positions if not position.run_id]


def note_results(record: TrackedRun | None, results: Mapping[str, Any]) -> None:
    """Record how many trials came to which end, and the best of them."""
    if record is None:
        return
    states = Counter(trial["state"] for trial in results["trials"])
    record.tracker.log_metrics({f"trials/{state.lower()}": states[state] for state in STATES})
    if results.get("front"):
        numbers = ",".join(str(trial["number"]) for trial in results["front"])
        record.tracker.set_tag("explr.front", numbers)
    best = results["best"]
    if best is not None:
        record.tracker.log_metrics({"best_value": best["value"]})
        record.tracker.set_tag("explr.best_trial", best["number"])
        for name, value in best["params"].items():
            record.tracker.set_tag(f"best.{name}", value)
