"""One sweep: the ranges, the study and the results, and a backend that runs its trials."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, read_write
from omegaconf.errors import OmegaConfBaseException

from explr.config.hydra_versions import trusted_by
from explr.config.nodes import SWEEPER, SWEEPER_NODE, holder_of, is_own_tree, overrides_of
from explr.core.config import N_TRIALS
from explr.core.errors import ConfigError, UsageError
from explr.core.objective.constraints import constraint_faults
from explr.core.validation import AUTO, reported_faults, slots_faults
from explr.sweep.algorithms import (
    OPTUNA,
    algorithm_faults,
    as_sampler,
    optuna_pruner,
    optuna_sampler,
)
from explr.sweep.custom_space import custom_space
from explr.sweep.executors.choose import kind_of
from explr.sweep.executors.kind import Launching, Place
from explr.sweep.jobs import TRIAL_FOLDER, SweepJobs
from explr.sweep.line import with_drawn_orders, with_named_ranges
from explr.sweep.plan import SweepPlan
from explr.sweep.preflight import first_config, trial_config, with_params
from explr.sweep.session import SweepSession, SweepSettings, open_sweep, study_name
from explr.sweep.space import SweepSpace, fixed_of, with_fixed_params
from explr.sweep.watch import SweepWatch
from explr.tracking.callback import OWN_TASK
from explr.tuning.confirmation.confirming import confirm_fault, with_reserve
from explr.tuning.loop import SweepLoop
from explr.tuning.study import Study
from explr.tuning.trial import Outcome, SweepResult
from explr.tuning.trial_account import Limits
from explr.utils.scratch import scratch_folder

log = logging.getLogger("explr.sweep")

OPTION = "tuner/pruner"
"""The config group that chooses a pruner in explr's own tree."""

DEFAULT = "asha"
"""The default option of that group."""

SWEEPER_NAME = "hydra.sweeper.pruner"
"""Prefix of overrides that choose a pruner, in any app."""

NAMES = (OPTION, "tuner.pruner", SWEEPER_NAME)
"""Prefixes of overrides that choose a pruner in explr's own tree."""


def pruner_for(pruner: dict[str, Any], objectives: int, config: DictConfig) -> dict[str, Any]:
    """The pruner of a sweep as a config with `_target_`; an empty one never prunes.

    Args:
        pruner: the configured pruner.
        objectives: number of objectives.
        config: composed config of the sweep.

    Raises:
        ConfigError: a pruner was chosen for several objectives.
    """
    if objectives == 1 or not pruner:
        return pruner
    if _is_chosen(pruner, config):
        raise ConfigError(
            [
                "pruning needs one objective: to search for several, set tuner/pruner=none, or "
                "hydra.sweeper.pruner=null in an app of your own"
            ]
        )
    log.info("several objectives: no trial is pruned, the default pruner is not used")
    return {}


def _is_chosen(pruner: Mapping[str, Any], config: DictConfig) -> bool:
    own = is_own_tree(config)
    if config.hydra.runtime.choices.get(OPTION) != DEFAULT if own else pruner != SWEEPER["pruner"]:
        return True
    line = [*overrides_of(config, "task"), *overrides_of(config, "hydra")]
    names = NAMES if own else SWEEPER_NAME
    return any(override.lstrip("+~").startswith(names) for override in line)


OF_SWEEP = re.compile(r"\$\{(now:[^{}]*|tuner\.study_name)\}")
"""Parts of the name of a sweep's folder that are the same for all trials."""


FOLLOWS_RUN = re.compile(r"\$\{hydra[.:]run\.dir\}")
"""In the name of a sweep's folder: it is named as that of a run is."""


def settle_folder(config: DictConfig) -> None:
    """Put the name of a sweep's folder into its config; each trial would resolve it differently.

    Args:
        config: composed config of the sweep.

    Raises:
        UsageError: the name needs something that only a trial has.
    """
    node = config.hydra.sweep
    written = str(OmegaConf.to_container(node, resolve=False)["dir"])  # type: ignore[index,call-overload]
    try:
        folder = str(node.dir)
    except OmegaConfBaseException as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(
            f"hydra.sweep.dir={written} names no folder for the sweep as a whole: {reason}"
        ) from None
    if "${" in OF_SWEEP.sub("", written):
        log.info("hydra.sweep.dir is the same for all trials: %s", folder)
    with read_write(config.hydra):
        node.dir = folder
        if FOLLOWS_RUN.search(written):  # then the app writes to hydra.run.dir in sweeps too
            config.hydra.run.dir = TRIAL_FOLDER


def seed_faults(key: str | None, config: DictConfig) -> list[str]:
    """What is wrong with the key of the seed that the replicates of another app count from.

    Args:
        key: the key; without one they have the same config, which is said.
        config: composed config of the sweep.
    """
    if key is None:
        log.warning(
            "trainings with the same parameters have the same config: name the key of your app's "
            "seed, as in %s.seed_key=seed, and each has a seed of its own", SWEEPER_NODE,
        )  # fmt: skip
        return []
    if holder_of(config, key) is not None:
        return []
    return [f"{SWEEPER_NODE}.seed_key={key}: the config has no {key}"]


class Backend(Protocol):
    """Runs and prunes the trials of a sweep: explr's loop with Optuna, or Ray Tune."""

    algorithms: tuple[str, ...]
    """How the names of the samplers and pruners begin that it can use."""

    def faults(self, launching: Launching, node: str) -> Iterator[str]:
        """What is wrong with the number of trials at the same time, and with where they run.

        Args:
            launching: what they are launched with.
            node: the node of the config that the settings stand in.

        Raises:
            MissingDependencyError: the library that runs the trials is not installed.
        """

    def equip(self, study: Study, settings: SweepSettings, space: SweepSpace) -> None:
        """Give the study its sampler and its pruner.

        Raises:
            ConfigError: one of them cannot work here.
        """

    def run(self, sweep: SweepSession, launching: Launching, limits: Limits) -> Outcome | None:
        """Run the trials until the limits are reached, and record the sweep.

        Returns:
            How the first trial that failed did so; None if none did.
        """


class Sweep:
    """A sweep that is about to run.

    Args:
        settings: how it searches.
        backend: runs its trials.
        config: composed config of the sweep.
        context: Hydra's context.
        task: the app's task function.
    """

    def __init__(
        self,
        settings: SweepSettings,
        backend: Backend,
        config: DictConfig,
        context: HydraContext,
        task: TaskFunction,
    ) -> None:
        self._settings = replace(settings, sampler=as_sampler(settings.sampler))
        self._backend = backend
        self._config = config
        self._context = context
        objectives = len(settings.directions) + len(settings.constraints or ())
        self._launching = Launching(
            config, context, task, settings.n_jobs, objectives, settings.memory_gb
        )

    def run(self, arguments: list[str]) -> SweepResult:
        """Search until the limits are reached, and write the results.

        Args:
            arguments: the overrides of the command line.

        Raises:
            UsageError: the configuration is wrong, or another controller runs this sweep.
            SweepError: too many trials failed, or all of them.
            KeyboardInterrupt: the sweep was interrupted; `explr resume` resumes it.
        """
        settle_folder(self._config)
        settings, space = self._settings, self.space(arguments)
        self._check()
        if inference := settings.inference(self._node("objective")):
            log.info(inference)
        equip = partial(self._equip, space=space)
        with open_sweep(settings, self._config, self._context, space, arguments, equip) as sweep:
            total = self._n_trials(sweep.study)
            if said := self._repeats(total, space):
                log.warning(said)
            limits = replace(settings.limits, n_trials=total)
            launching = replace(self._launching, example=space.example)
            return sweep.conclude(self._backend.run(sweep, launching, limits))

    def space(self, arguments: list[str]) -> SweepSpace:
        """The search space, given the overrides of the command line.

        Raises:
            ConfigError: a range cannot be read, or a trial cannot apply it.
        """
        config, loader = self._config, self._context.config_loader
        params = self._settings.params
        line = with_drawn_orders(arguments, config, loader)
        if not getattr(self._launching.task, OWN_TASK, False):  # else `check_first_job` has done it
            parser = OverridesParser.create(config_loader=loader)
            given = with_named_ranges(parser.parse_overrides(line), config)
            first_config(with_params(given, params, loader, fixed_of), config, loader)
            params, line = with_fixed_params(params, line)
        space = SweepSpace(config, loader, params, line)
        for job in space.conditional:
            trial_config(job.overrides, config, loader)
        return space

    def plan(self, arguments: list[str], samples: int) -> SweepPlan:
        """Sample the jobs of the first trials without storing them.

        Args:
            arguments: the overrides of the command line.
            samples: number of trials.

        Raises:
            UsageError: the configuration is wrong.
        """
        settle_folder(self._config)
        settings, space = self._settings, self.space(arguments)
        self._check()
        with scratch_folder() as folder:
            path = Path(folder)
            study = Study(path, study_name(settings, path), settings.directions)
            self._equip(study, space)
            study.enqueue(settings.enqueue, space.allowing)
            total = int(self._n_trials(study))
            trials = [study.ask(space.active) for _ in range(min(samples, total))]
        jobs = [space.job(number, params, {}) for number, params in trials]
        repeats = self._repeats(total, space)
        return SweepPlan(settings, total, space.texts, jobs, space.fixed, repeats)

    def _repeats(self, total: float, space: SweepSpace) -> str:
        """A sentence about trials that repeat one another; empty if none has to."""
        count = math.inf if self._settings.custom_search_space else space.size
        if total <= count:
            return ""
        own = is_own_tree(self._config)
        grid = f"{'tuner' if own else 'hydra/sweeper'}/sampler=grid"
        return (
            f"the ranges have {count:g} combinations for {total:g} trials, so that trials repeat: "
            f"{grid} runs each combination once"
        )

    def _node(self, own: str) -> str:
        """Where settings stand: in a group of explr's own tree, or in the sweeper's node."""
        return own if is_own_tree(self._config) else SWEEPER_NODE

    def _check(self) -> None:
        """Check what can be checked before there is a study.

        Raises:
            ConfigError: naming each fault.
        """
        own, settings = is_own_tree(self._config), self._settings
        node = self._node("tuner")
        faults = [*self._backend.faults(self._launching, node)]
        faults += reported_faults(settings.reported, self._node("objective"))
        faults += constraint_faults(settings.constraints, self._node("objective"))
        if settings.metric is not None and len(settings.metrics) != len(settings.directions):
            faults.append(f"{SWEEPER_NODE}.metric needs one name for each of its directions")
        if len(settings.directions) > 1:
            faults += [
                f"{node}.{name} needs one objective: leave it out"
                for name, unset in (("confirm", 0), ("target", None), ("stop_when", None))
                if getattr(settings, name) != unset
            ]
        if not own and (settings.replicates > 1 or settings.confirm):
            faults += seed_faults(settings.seed_key, self._config)
        given = {"sampler": settings.sampler, "pruner": settings.pruner}
        for name, chosen in given.items():
            faults += algorithm_faults(chosen, f"{node}.{name}", self._backend.algorithms)
        if faults:
            raise ConfigError(faults)

    def _n_trials(self, study: Study) -> float:
        """Total number of trials: never more search than a grid has combinations."""
        confirm, given = self._settings.confirm, self._settings.n_trials
        whole = with_reserve(study.size, confirm)
        default = N_TRIALS if math.isinf(whole) else whole
        return min(default if given is None else given, whole)

    def _equip(self, study: Study, space: SweepSpace) -> None:
        settings = self._settings
        pruner = pruner_for(settings.pruner, len(settings.directions), self._config)
        self._backend.equip(study, replace(settings, pruner=pruner), space)
        total, node = self._n_trials(study), self._node("tuner")
        if fault := confirm_fault(total, settings.confirm, node):
            raise ConfigError([fault])
        if settings.custom_search_space is not None:
            study.extend = custom_space(
                settings.custom_search_space,
                self._config,
                space.fixed_values,
                settings.sampler,
                trusted_by(self._context),
            )


class OptunaBackend:
    """Runs trials with the executor that `hydra.launcher` chooses; Optuna samples and prunes."""

    algorithms: tuple[str, ...] = OPTUNA

    def faults(self, launching: Launching, node: str) -> Iterator[str]:
        """See `Backend.faults`."""
        yield from slots_faults(launching.n_jobs, launching.memory_gb, node)
        if launching.n_jobs == AUTO and not kind_of(launching.launcher).measures_memory:
            yield (
                "n_jobs=auto needs hydra/launcher=explr_local, which measures trials: set a "
                "number with any other launcher"
            )

    def equip(self, study: Study, settings: SweepSettings, space: SweepSpace) -> None:
        """See `Backend.equip`."""
        sampler = optuna_sampler(settings.sampler, space, study)
        study.use(sampler, optuna_pruner(settings.pruner), list(settings.constraints or ()))

    def run(self, sweep: SweepSession, launching: Launching, limits: Limits) -> Outcome | None:
        """See `Backend.run`."""
        kind = kind_of(launching.launcher)
        elsewhere = kind.place(launching.launcher) is Place.ANYWHERE
        jobs = SweepJobs(sweep.config, sweep.space, elsewhere=elsewhere)
        if limits.trial_timeout_s is not None and kind.timeout_caveat:
            log.warning(kind.timeout_caveat)
        watch = SweepWatch(sweep, limits)
        launching = replace(launching, missed=watch.missed)
        loop = SweepLoop(
            sweep.study, sweep.space.active, limits, watch, kept_of=sweep.folder.kept_replicates
        )
        with (
            sweep.recorded(),
            watch.shown(),
            kind.executor(launching, jobs, loop.report, sweep.folder.output_of) as executor,
        ):
            watch.progress.slots = lambda: executor.slots
            loop.run(executor)
        return loop.first_failure
