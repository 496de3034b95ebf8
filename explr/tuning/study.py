"""The Optuna study of a sweep: asked, told and reported to by its one controller."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explr.core.errors import ConfigError
from explr.tuning.base import State
from explr.tuning.search_space import SearchSpace
from explr.tuning.storage import open_storage

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial, Trial

ATTEMPTS, REASON, FIXED = "explr.attempts", "explr.reason", "explr.fixed"
"""User attributes of a trial: starts, why it failed, parameters that a range did not sample."""

SpaceOf = Callable[[Mapping[str, Any]], SearchSpace]
"""The ranges that are active once the given parameters are chosen."""


class Study:
    """A study that only this process writes to. Methods may be called from several threads.

    Args:
        folder: folder of the sweep; its study lies there unless `storage` names another place.
        name: name of the study.
        directions: `minimize` or `maximize` for each objective.
        storage: Optuna storage URL; None keeps a journal in `folder`.

    Raises:
        ConfigError: the study was begun with other directions.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        directions: Sequence[str],
        storage: str | None = None,
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._lock = threading.RLock()
        self._storage = open_storage(folder, storage)
        if storage is None:  # a sweep's own journal holds one study, whatever it is called
            name = next(iter(optuna.get_all_study_names(self._storage)), name)
        self._study = optuna.create_study(
            study_name=name,
            storage=self._storage,
            pruner=optuna.pruners.NopPruner(),
            directions=list(directions),  # type: ignore[arg-type]
            load_if_exists=True,
        )
        begun = [direction.name.lower() for direction in self._study.directions]
        if begun != list(directions):
            raise ConfigError(
                [
                    f"the study {name} was begun with objective.direction={','.join(begun)}, not "
                    f"{','.join(directions)}: name another study with tuner.study_name"
                ]
            )
        self._trials: dict[int, Trial] = {}
        self._attempts: dict[int, int] = {}

    def use(self, sampler: BaseSampler | None, pruner: BasePruner | None) -> None:
        """Choose values and prune with these from now on; None keeps what is in use."""
        self._study.sampler = sampler or self._study.sampler
        self._study.pruner = pruner or self._study.pruner

    @property
    def size(self) -> float:
        """How many trials there can be: a grid ends, other samplers do not."""
        known = sum("fixed_params" in trial.system_attrs for trial in self.frozen())
        return float(getattr(self._study.sampler, "size", math.inf)) + known

    @property
    def name(self) -> str:
        """Name of the study."""
        return self._study.study_name

    @property
    def directions(self) -> list[str]:
        """Minimize or maximize, for each objective."""
        return [direction.name.lower() for direction in self._study.directions]

    def check_space(self, space: SearchSpace) -> None:
        """Make sure that the ranges fit the trials that were run before.

        A range may be widened; values that lie outside of it stay known.

        Raises:
            ConfigError: naming each parameter that changed its kind or its choices.
        """
        from optuna.distributions import check_distribution_compatibility

        faults = []
        for name, before in self._last_distributions().items():
            now = space.distributions.get(name)
            try:
                if now is not None:
                    check_distribution_compatibility(before, now)
            except ValueError:
                faults.append(
                    f"{name} was searched in {before} before, and is now in {now}: keep the kind "
                    "of range and the choices, or name another study with tuner.study_name"
                )
        if faults:
            raise ConfigError(faults)

    def enqueue(self, configurations: Sequence[Mapping[str, Any]], space: SearchSpace) -> None:
        """Have known configurations tried first; those of a study that goes on are not repeated.

        Args:
            configurations: values by parameter; what is left out is sampled.
            space: every range that may become active.

        Raises:
            ConfigError: naming each value that the ranges do not allow.
        """
        encoded = [{k: space.encode(k, v) for k, v in values.items()} for values in configurations]
        faults = [
            f"tuner.enqueue: {name}={values[name]} {fault}"
            for values, codes in zip(configurations, encoded, strict=True)
            for name, code in codes.items()
            if (fault := space.fault(name, code))
        ]
        if faults:
            raise ConfigError(faults)
        with self._lock:
            for codes in encoded:
                self._study.enqueue_trial(codes, skip_if_exists=True)

    def ask(self, space_of: SpaceOf) -> tuple[int, dict[str, Any]]:
        """Begin a trial.

        Args:
            space_of: the ranges that are active given what was sampled so far; asked again until
                it brings nothing new, so that one choice may bring further ranges.

        Returns:
            The trial's number and the values of its parameters.
        """
        with self._lock:
            trial = self._study.ask()
            self._trials[trial.number] = trial
            return trial.number, _sampled(trial, space_of)

    def report(self, number: int, step: int, value: float) -> bool:
        """Take in an intermediate value.

        Returns:
            Whether the trial should end; with several objectives never.
        """
        if len(self.directions) > 1:
            return False
        with self._lock:
            trial = self._trials[number]
            if step in self._storage.get_trial(trial._trial_id).intermediate_values:
                return bool(
                    trial.should_prune()
                )  # told before, by the attempt that was interrupted
            trial.report(value, step)
            return bool(trial.should_prune())

    def tell(
        self, number: int, state: State, values: Sequence[float] = (), reason: str = ""
    ) -> None:
        """End a trial; a pruned one keeps the last value that it reported."""
        from optuna.trial import TrialState

        with self._lock:
            trial = self._trials.pop(number)
            if reason:
                trial.set_user_attr(REASON, reason)
            if state == "PRUNED":
                self._study.tell(trial, state=TrialState.PRUNED)
            elif state == "COMPLETE":
                self._study.tell(trial, list(values))
            else:
                self._study.tell(trial, state=TrialState.FAIL)

    def begin_attempt(self, number: int) -> int:
        """Count a start of a trial; how often it was started before."""
        with self._lock:
            trial = self._trials[number]
            before = self._attempts.get(number, 0)
            self._attempts[number] = before + 1
            if before:  # the first start is known without a word
                trial.set_user_attr(ATTEMPTS, before + 1)
            return before

    def unfinished(self, space_of: SpaceOf) -> list[tuple[int, dict[str, Any]]]:
        """Trials that a controller before this one began and did not end, taken over."""
        import optuna

        with self._lock:
            running = self._study.get_trials(
                deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)
            )
            for frozen in running:
                self._trials[frozen.number] = optuna.Trial(self._study, frozen._trial_id)
                self._attempts[frozen.number] = frozen.user_attrs.get(ATTEMPTS, 1)
            # A controller may have been killed between two parameters of the same trial.
            return [(t.number, _sampled(self._trials[t.number], space_of)) for t in running]

    def count(self) -> int:
        """Trials that were begun and are not merely waiting."""
        import optuna

        waiting = optuna.trial.TrialState.WAITING
        with self._lock:
            return sum(t.state is not waiting for t in self._study.get_trials(deepcopy=False))

    def frozen(self) -> list[FrozenTrial]:
        """Every trial, as Optuna holds it."""
        with self._lock:
            return self._study.get_trials(deepcopy=False)

    def front(self) -> list[int]:
        """Numbers of the best trials: one, or with several objectives the Pareto front."""
        with self._lock:
            return [trial.number for trial in self._study.best_trials]

    def _last_distributions(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for trial in self._study.get_trials(deepcopy=False):
            found |= trial.distributions
        return found


def _sampled(trial: Trial, space_of: SpaceOf) -> dict[str, Any]:
    """Values of all parameters that are active, sampled unless the trial has them already."""
    values: dict[str, Any] = {}
    while fresh := space_of(values).without(list(values)).distributions:
        space = space_of(values)
        for name in fresh:
            sampled = trial._suggest(name, space.distributions[name])
            values[name] = space.value(name, sampled)
    return values
