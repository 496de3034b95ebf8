"""The run that records a sweep as a whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from hydra.types import HydraContext
from omegaconf import DictConfig

from explr.tracking.callback import MLflowCallback
from explr.tracking.session import TrackedRun


def open_record(context: HydraContext, config: DictConfig) -> TrackedRun | None:
    """Open the sweep's own run; None where the app is not tracked.

    Raises:
        TrackingError: it cannot be recorded.
    """
    for callback in context.callbacks.callbacks:
        if isinstance(callback, MLflowCallback):
            return callback.open_sweep(config, keeps_folders=True)
    return None


def note_results(record: TrackedRun | None, results: Mapping[str, Any]) -> None:
    """Record how many trials came to which end, and the best of them."""
    if record is None:
        return
    states = Counter(trial["state"] for trial in results["trials"])
    record.tracker.log_metrics({f"trials/{state.lower()}": n for state, n in states.items()})
    best = results["best"]
    if best is not None:
        record.tracker.log_metrics({"best_value": best["value"]})
        record.tracker.set_tag("explr.best_trial", best["number"])
        for name, value in best["params"].items():
            record.tracker.set_tag(f"best.{name}", value)
