"""Typed messages from a Ray actor to the search, sent as results of Ray Tune.

Ray passes results to its schedulers and saves them, so a result holds plain values only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from explr.tuning.feasibility.failure import Failure
from explr.tuning.trial import Outcome

METRIC, STEP = "objective", "step"
"""Keys of the objective's value, and of its step, in a result of Ray's."""


@dataclass(frozen=True)
class Reported:
    """An intermediate value; the trial waits for the decision to continue or to stop.

    Args:
        step: step of the training.
        value: the objective at that step.
        deaths: why processes of the trial died, for each one that was replaced.
    """

    step: int
    value: float
    deaths: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ended:
    """A trial has ended.

    Args:
        step: the step after the last one that was reported.
        outcome: how it ended.
        deaths: why processes of the trial died, for each one that was replaced.
        missed: the metrics that it reported in place of the objective.
    """

    step: int
    outcome: Outcome
    deaths: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refused:
    """No trial of the sweep can run.

    Args:
        reason: why.
    """

    reason: str


@dataclass(frozen=True)
class KnownEnd:
    """A trial that Ray resumes had ended already: its last snapshot was taken before that."""


Message = Reported | Ended | Refused | KnownEnd


def to_result(message: Message) -> dict[str, Any]:
    """A message as a result of Ray's."""
    match message:
        case Reported(step, value, deaths):
            return {METRIC: value, STEP: step, "deaths": deaths}
        case Refused(reason):
            return {"done": True, "refused": reason}
        case KnownEnd():
            return {"done": True}
        case Ended(step, outcome, deaths, missed):
            result: dict[str, Any] = {
                "done": True,
                "state": outcome.state,
                "values": list(outcome.values),
                "reason": outcome.reason,
                "failure": outcome.failure and str(outcome.failure),
                "detail": outcome.detail,
                "measured": list(outcome.measured),
                "deaths": deaths,
                "missed": missed,
                STEP: step,
            }
            if len(outcome.values) == 1:
                result[METRIC] = outcome.values[0]
            return result


def from_result(result: Mapping[str, Any]) -> Message:
    """The message that a result of Ray's carries; Ray adds keys of its own."""
    if "refused" in result:
        return Refused(result["refused"])
    deaths = tuple(result.get("deaths", ()))
    if "state" in result:
        kind = result.get("failure")
        outcome = Outcome(
            result["state"],
            tuple(result["values"]),
            result["reason"],
            Failure(kind) if kind else None,
            detail=result["detail"],
            measured=tuple(result.get("measured", ())),
        )
        return Ended(result[STEP], outcome, deaths, tuple(result.get("missed", ())))
    if METRIC in result:
        return Reported(result[STEP], result[METRIC], deaths)
    return KnownEnd()
