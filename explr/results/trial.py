"""Reads a trial: what the study knows of it, and what lies in its folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explr.core.errors import FileError
from explr.core.folders import REPLICATES, read_json, read_result
from explr.tracking.shipping.run_ids import position_of_run
from explr.tuning.confirmation.confirming import CONFIRMS, is_feasible
from explr.tuning.feasibility.failure import FAILURE
from explr.tuning.study import ATTEMPTS, MEASURED, PARAMS, PAUSED, REASON

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from explr.tracking.shipping.sink import Sink

log = logging.getLogger(__name__)


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
        failure: the kind of its failure, as `Failure` names it; "" if it did not fail.
        address: address of its run in MLflow's UI; None if unknown.
        run_id: id of its run in MLflow; "" if unknown.
        replicates: value of each of its trainings, or their values; empty if it had one.
    """

    frozen: FrozenTrial
    folder: Path
    params: Mapping[str, Any]
    values: Sequence[float]
    attempts: int = 1
    reason: str = ""
    failure: str = ""
    address: str | None = None
    run_id: str = ""
    replicates: Sequence[Any] = ()

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
    def is_feasible(self) -> bool:
        """Whether it violates no constraint."""
        return is_feasible(self.frozen)

    @property
    def shown_state(self) -> str:
        """Its state in a report: one that completed and violates a constraint is INFEASIBLE."""
        return "INFEASIBLE" if self.is_complete and not self.is_feasible else self.state

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
        confirms = self.frozen.user_attrs.get(CONFIRMS)
        measured = self.frozen.user_attrs.get(MEASURED)
        bounded = {"constraints": measured, "feasible": self.is_feasible}
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
            "failure": self.failure or None,
            **(bounded if measured else {}),
            **({"replicates": list(self.replicates)} if self.replicates else {}),
            **({"confirms": confirms["number"]} if confirms else {}),
        }


def read_trial(
    frozen: FrozenTrial,
    folder: Path,
    row: Mapping[str, Any],
    sink: Sink | None = None,
    own: bool = True,
) -> TrialView:
    """Read the files of a trial.

    Args:
        frozen: the trial in Optuna's study.
        folder: its folder.
        row: its row of `results.json`, or a part of it; ignored if the state has changed since.
        sink: where its runs are uploaded to; None if they are not.
        own: it is explr's own; another app may have another kind of `result.json`.
    """
    state, attributes = frozen.state.name, frozen.user_attrs
    known = row if row.get("state", state) == state else {}
    values = frozen.values or []
    if not values and state == "PRUNED" and frozen.intermediate_values:
        values = [frozen.intermediate_values[max(frozen.intermediate_values)]]
    reason = known.get("reason") or attributes.get(REASON, "")
    written = _result(folder) if own and state in ("PRUNED", "FAIL") else None
    if written is not None:
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
        str(attributes.get(FAILURE, "")) if state == "FAIL" else "",
        sink.address(position.experiment_id, position.run_id) if sink and position else None,
        position.run_id if position else str(known.get("run_id") or ""),
        _replicates(folder) if state == "COMPLETE" else (),
    )


def _replicates(folder: Path) -> list[Any]:
    """The values of a trial's trainings in their order; empty if it had one."""
    try:
        finished = (read_json(folder / REPLICATES) or {}).get("finished", {})
    except FileError as error:
        log.warning("%s", error)
        return []
    values = [finished[key]["values"] for key in sorted(finished, key=int)]
    return [each[0] if len(each) == 1 else each for each in values]


def _result(folder: Path) -> dict[str, Any] | None:
    """The `result.json` of a trial, whose study knows the same; None if it cannot be read."""
    try:
        return read_result(folder)
    except FileError as error:
        log.warning("%s", error)
        return None
