"""The run that records a sweep as a whole."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.types import HydraContext
from omegaconf import DictConfig

from explr.config.hydra_private import callbacks_of
from explr.core.errors import ConfigError
from explr.tracking.callback import MLflowCallback, tracking_uri_of
from explr.tracking.destination import absolute_uri, environment_uri
from explr.tracking.home import explr_home, local_store_uri
from explr.tracking.journal.journal import journals_in
from explr.tracking.journal.position import Position, read_position
from explr.tracking.run import TrackedRun
from explr.tracking.shipping.awaiting import awaiting
from explr.tuning.lock import sole_controller

POLL_S = 0.02
"""Seconds between two checks of what was uploaded."""

STATES = ("COMPLETE", "PRUNED", "FAIL", "RUNNING")


def refuse_shared_store(storage: str | None, config: DictConfig) -> None:
    """Check that Optuna and MLflow use different databases; one would break the other's tables.

    Args:
        storage: Optuna storage URL.
        config: composed config of the sweep.

    Raises:
        ConfigError: the storage is the database of MLflow's runs.
    """
    if storage is None:
        return
    stores = {tracking_uri_of(config), environment_uri(), local_store_uri()}
    if _database(storage) in {_database(uri) for uri in stores if uri is not None}:
        raise ConfigError(
            [
                f"tuner.storage={storage} is the database that MLflow's runs go to: "
                "name another file for the study"
            ]
        )


def sole_study(storage: str, name: str) -> AbstractContextManager[None]:
    """Hold the lock of a study in a separate storage, on this machine.

    Args:
        storage: Optuna storage URL.
        name: name of the study.

    Raises:
        UsageError: another sweep uses it.
    """
    digest = hashlib.sha256(f"{_database(storage)}\n{name}".encode()).hexdigest()
    folder = explr_home() / "studies" / digest[:16]
    folder.mkdir(parents=True, exist_ok=True)
    return sole_controller(folder, f"the study {name} in {storage}")


def _database(url: str) -> str:
    """The URL of a database without its driver, and with an absolute path."""
    scheme, _, rest = absolute_uri(url, Path.cwd()).partition("://")
    return f"{scheme.partition('+')[0]}://{rest.partition('?')[0]}"


def open_record(context: HydraContext, config: DictConfig) -> TrackedRun | None:
    """Open the sweep's own run; None where the app is not tracked.

    Raises:
        TrackingError: it cannot be recorded.
    """
    for callback in callbacks_of(context):
        if isinstance(callback, MLflowCallback):
            return callback.open_sweep(config, keeps_folders=True)
    return None


def note_failure(record: TrackedRun | None, error: Exception) -> None:
    """Record why a sweep failed."""
    if record is not None:
        record.tracker.set_tag("explr.reason", str(error).rstrip().rpartition("\n")[2])


def await_run_ids(record: TrackedRun | None, folders: Iterable[Path]) -> None:
    """Wait until each trial has its run in MLflow, at most `drain_timeout_s`.

    The end of the sweep then waits for the rest of this time.

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
    with awaiting(record.destination.resolved_uri):
        while (lacking := _lacking(begun)) and time.monotonic() < deadline:
            if all(position.stuck for position in lacking):
                break  # MLflow is not reachable, or refuses them
            if not record.waits_for_store:
                break
            time.sleep(POLL_S)
    left = max(0.0, deadline - time.monotonic())
    record.destination = replace(record.destination, drain_timeout_s=left)


def _lacking(journals: list[Path]) -> list[Position]:
    """The positions of the journals whose run is not in MLflow yet."""
    positions = [read_position(journal) for journal in journals]
    return [position for position in positions if not position.run_id]


def note_results(record: TrackedRun | None, results: Mapping[str, Any]) -> None:
    """Record the number of trials per state, and the best trial."""
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
