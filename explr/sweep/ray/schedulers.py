"""The pruners of `tuner/pruner` as Ray Tune's schedulers.

Successive halving, Hyperband and the median rule run in Ray. Any other pruner of Optuna decides at
each report, as without Ray.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ray.tune.schedulers import (
    AsyncHyperBandScheduler,
    FIFOScheduler,
    MedianStoppingRule,
    TrialScheduler,
)

from explr.core.errors import ConfigError
from explr.sweep.ray.messages import METRIC, STEP, Reported, to_result
from explr.sweep.ray.search import StudySearch
from explr.sweep.ray.searchers import ray_domains, within
from explr.tuning.search_space import SearchSpace

NATIVE = "ray.tune.schedulers."
"""Prefix of the `_target_` of a Ray scheduler."""

COMPARING = (AsyncHyperBandScheduler, MedianStoppingRule)
"""Schedulers that compare a trial with what earlier ones reported, and run none for another one."""

MAX_STEPS = 3**15
"""Maximum steps in Ray's halving; no trial reaches it."""


class StudyScheduler(FIFOScheduler):
    """Stops a trial when the pruner of the study decides so.

    Args:
        search: the search with the study.
    """

    def __init__(self, search: StudySearch) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._search = search

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """See `TrialScheduler.on_trial_result`."""
        prune = self._search.guarded(lambda: self._search.would_prune(trial.trial_id, result))
        return str(TrialScheduler.STOP if prune else TrialScheduler.CONTINUE)


@dataclass(frozen=True)
class Past:
    """A trial that ended before the sweep was resumed, in place of Ray's own.

    Args:
        trial_id: Ray's name of it.
        reports: what it reported, by step.
        value: its value; None if it did not complete.
    """

    trial_id: str
    reports: Mapping[int, float] = field(hash=False)
    value: float | None = None


class SweepScheduler(TrialScheduler):
    """Puts the decisions of a scheduler into effect as the training expects it.

    A trial that is to stop is told so at its report, and runs until it ends by itself: it may save
    something, and its next report may be far away. Ray would stop its actor at once.

    The scheduler hears the value of a completed trial. It does not hear other ends, in which it
    would look for a value and a step: to it such a trial has failed.

    Args:
        inner: the scheduler that decides.
        prune: tells the actor of a trial to prune it.
        past: trials that have ended, which it then compares others with. Ray itself resumes with a
            scheduler that has seen no trial.
    """

    def __init__(
        self, inner: TrialScheduler, prune: Callable[[int], None], past: Sequence[Past] = ()
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._inner = inner
        self._prune = prune
        self._past = past if isinstance(inner, COMPARING) else ()
        self._decided: set[str] = set()

    @property
    def metric(self) -> Any:
        """See `TrialScheduler.metric`."""
        return self._inner.metric

    @property
    def supports_buffered_results(self) -> bool:
        """See `TrialScheduler.supports_buffered_results`."""
        return bool(self._inner.supports_buffered_results)

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """See `TrialScheduler.set_search_properties`."""
        answer = self._inner.set_search_properties(metric, mode, **spec)
        for trial in self._past:
            self._remember(trial)
        return answer

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """See `TrialScheduler.on_trial_add`."""
        self._inner.on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """See `TrialScheduler.on_trial_result`."""
        if trial.trial_id in self._decided:
            return str(TrialScheduler.CONTINUE)
        decision = self._inner.on_trial_result(tune_controller, trial, result)
        if decision != TrialScheduler.STOP:
            return decision
        self._decided.add(trial.trial_id)
        self._inner.on_trial_complete(tune_controller, trial, result)
        self._prune(int(trial.trial_id))
        return str(TrialScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """See `TrialScheduler.on_trial_complete`."""
        if trial.trial_id in self._decided:
            return
        if METRIC in result:
            self._inner.on_trial_complete(tune_controller, trial, result)
        else:
            self._inner.on_trial_error(tune_controller, trial)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """See `TrialScheduler.on_trial_error`."""
        if trial.trial_id not in self._decided:
            self._inner.on_trial_error(tune_controller, trial)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """See `TrialScheduler.on_trial_remove`."""
        self._inner.on_trial_remove(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """See `TrialScheduler.choose_trial_to_run`."""
        return self._inner.choose_trial_to_run(tune_controller)

    def debug_string(self) -> str:
        """See `TrialScheduler.debug_string`."""
        return self._inner.debug_string()

    def _remember(self, past: Past) -> None:
        """Have the scheduler see a trial as it was; what it decides now changes nothing."""
        trial: Any = past
        controller: Any = None  # none is asked: no trial is to run for another one
        self._inner.on_trial_add(controller, trial)
        result: dict[str, Any] = {}
        for step, value in sorted(past.reports.items()):
            result = to_result(Reported(step, value))
            if self._inner.on_trial_result(controller, trial, result) == TrialScheduler.STOP:
                break
        if past.value is not None:
            result = {METRIC: past.value, STEP: max(past.reports, default=-1) + 1}
        if result:
            self._inner.on_trial_complete(controller, trial, result)


def is_rays(node: Mapping[str, Any]) -> bool:
    """Whether a pruner config names a Ray scheduler."""
    return str(node.get("_target_", "")).startswith(NATIVE)


def is_population(scheduler: Any) -> bool:
    """Whether a scheduler runs all trials side by side, instead of stopping bad ones."""
    from ray.tune.schedulers import PopulationBasedTraining

    return isinstance(scheduler, PopulationBasedTraining)


def rays_own(node: Mapping[str, Any], space: SearchSpace) -> Any:
    """The Ray scheduler of a pruner config; None if Ray has none.

    Args:
        node: the pruner, as a `_target_` and its arguments.
        space: the ranges.

    Raises:
        ConfigError: the arguments do not fit the scheduler.
    """
    from ray.tune import schedulers

    target = str(node.get("_target_", ""))
    given = {key: value for key, value in node.items() if key != "_target_"}
    try:
        if is_rays(node):
            return _native(getattr(schedulers, target.removeprefix(NATIVE)), given, space)
        if target.rpartition(".")[2] == "SuccessiveHalvingPruner":
            return _halving(given, brackets=1)
        if target == "optuna.pruners.HyperbandPruner":
            return _halving(given, _brackets(given))
        if target.rpartition(".")[2] == "MedianPruner":
            return schedulers.MedianStoppingRule(
                time_attr=STEP,
                grace_period=given.get("n_warmup_steps", 0),
                min_samples_required=max(1, given.get("n_startup_trials", 5)),
                # No trial is paused for another one.
                min_time_slice=math.inf,  # type: ignore[arg-type]
            )
    except (TypeError, ValueError, AttributeError, AssertionError) as error:
        raise ConfigError([f"tuner.pruner: {target}: {error}"]) from None
    return None


def _halving(given: Mapping[str, Any], brackets: int) -> Any:
    from ray.tune.schedulers import AsyncHyperBandScheduler

    least = given.get("min_resource", 1)
    return AsyncHyperBandScheduler(
        time_attr=STEP,
        max_t=MAX_STEPS,
        grace_period=1 if least == "auto" else least,
        reduction_factor=given.get("reduction_factor", 3),
        brackets=brackets,
    )


def _brackets(given: Mapping[str, Any]) -> int:
    """Rounds of halving from eager to patient, as many as Hyperband makes (Li et al., 2018)."""
    most, least = given.get("max_resource", "auto"), given.get("min_resource", 1)
    if not isinstance(most, int):
        return 3
    return int(math.log(most / least, given.get("reduction_factor", 3))) + 1


def _native(kind: Any, given: dict[str, Any], space: SearchSpace) -> Any:
    from ray.tune.schedulers import PopulationBasedTraining

    if issubclass(kind, PopulationBasedTraining):
        domains = ray_domains(space)
        given.setdefault("hyperparam_mutations", {"params": _mutations(domains)})
        given.setdefault("custom_explore_fn", _Within(space))
    given.setdefault("time_attr", STEP)
    return kind(**given)


def _mutations(domains: Mapping[str, Any]) -> dict[str, Any]:
    """Choices as lists, in which Ray moves to a neighbour; it would multiply a domain's values."""
    from ray.tune.search.sample import Categorical

    return {
        name: list(domain.categories) if isinstance(domain, Categorical) else domain
        for name, domain in domains.items()
    }


class _Within:
    """Clips the changes of population based training to the ranges."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space

    def __call__(self, config: dict[str, Any]) -> dict[str, Any]:
        return {**config, "params": within(self._space, config["params"])}
