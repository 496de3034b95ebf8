"""One sweep with Optuna: a sampler and a pruner, a loop, and what runs its jobs."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from hydra.types import HydraContext, TaskFunction
from hydra.utils import instantiate
from omegaconf import DictConfig

from explr.config.nodes import SWEEPER
from explr.core.errors import ConfigError
from explr.launching.hydra_job import HydraJob
from explr.sweep.executors.choose import Launching
from explr.sweep.jobs import SweepJobs
from explr.sweep.session import SweepSettings, open_sweep, study_name
from explr.sweep.space import SweepSpace
from explr.sweep.watch import SweepWatch
from explr.tuning.loop import SweepLoop
from explr.tuning.study import Study
from explr.tuning.trial import SweepResult

log = logging.getLogger("explr.sweep")

OPTION = "tuner/pruner"
"""The config group that chooses a pruner in explr's own tree."""

DEFAULT = "median"
"""What it chooses if nobody says anything."""

NAMES = ("tuner/pruner", "tuner.pruner", "hydra.sweeper.pruner")
"""How a command line begins to speak of pruners."""


def pruner_for(pruner: dict[str, Any], objectives: int, config: DictConfig) -> dict[str, Any]:
    """The pruner of a sweep, as a `_target_`; empty never prunes.

    Args:
        pruner: the one that is configured.
        objectives: number of objectives.
        config: composed config of the sweep.

    Raises:
        ConfigError: somebody chose a pruner for several objectives.
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
    log.info("several objectives: every trial runs to its end, the default pruner is left out")
    return {}


def _is_chosen(pruner: Mapping[str, Any], config: DictConfig) -> bool:
    option = config.hydra.runtime.choices.get(OPTION)
    if (pruner != SWEEPER["pruner"]) if option is None else (option != DEFAULT):
        return True
    line = [*config.hydra.overrides.task, *config.hydra.overrides.hydra]
    return any(str(override).lstrip("+~").startswith(NAMES) for override in line)


GRID = "explr.tuning.grid.Grid"


class OptunaSweep:
    """A sweep that is about to run.

    Args:
        settings: how it searches.
        config: composed config of the sweep.
        context: Hydra's context.
        task: the app's task function.
    """

    def __init__(
        self,
        settings: SweepSettings,
        config: DictConfig,
        context: HydraContext,
        task: TaskFunction,
    ) -> None:
        self._settings = settings
        self._config = config
        self._context = context
        self._task = task

    def run(self, arguments: list[str]) -> SweepResult:
        """Search until the limits are reached, and write the results.

        Args:
            arguments: the overrides of the command line.

        Raises:
            UsageError: the configuration is at fault, or another controller runs this sweep.
            SweepError: too many trials failed, or all of them.
            KeyboardInterrupt: the sweep was interrupted; `explr resume` goes on with it.
        """
        settings, space = self._settings, self.space(arguments)
        self._check_slots()
        launching = self._launching()
        with open_sweep(settings, self._config, self._context, space, arguments) as sweep:
            study, folder = sweep.study, sweep.folder
            self._equip(study, space)
            limits = replace(settings.limits, n_trials=min(settings.limits.n_trials, study.size))
            jobs = SweepJobs(self._config, space)
            if limits.trial_timeout_s is not None:
                launching.warn_of_timeouts()
            watch = SweepWatch(sweep, limits)
            loop = SweepLoop(study, space.active, limits, watch.started, watch.ended)
            report = watch.reports(loop.report)
            with (
                sweep.recorded(),
                watch.shown(),
                launching.executor(jobs, report, folder.output_of) as executor,
            ):
                watch.progress.slots = lambda: executor.slots
                loop.run(executor)
            return sweep.conclude(loop.first_failure)

    def space(self, arguments: list[str]) -> SweepSpace:
        """What is searched, given the overrides of the command line.

        Raises:
            ConfigError: a range cannot be read.
        """
        loader = self._context.config_loader
        return SweepSpace(self._config, loader, self._settings.params, arguments)

    def plan(self, arguments: list[str], samples: int) -> list[HydraJob]:
        """The jobs of the first trials, sampled without a trace.

        Args:
            arguments: the overrides of the command line.
            samples: number of trials.

        Raises:
            ConfigError: a range cannot be read.
        """
        settings, space = self._settings, self.space(arguments)
        self._check_slots()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder)
            study = Study(path, study_name(settings, path), settings.directions)
            self._equip(study, space)
            study.enqueue(settings.enqueue, space.every)
            count = int(min(samples, settings.limits.n_trials))
            trials = [study.ask(space.active) for _ in range(count)]
        return [space.job(number, params, {}) for number, params in trials]

    def _launching(self) -> Launching:
        """What launches the trials."""
        settings = self._settings
        return Launching(
            self._config,
            self._context,
            self._task,
            settings.n_jobs,
            len(settings.directions),
            settings.memory_gb,
        )

    def _check_slots(self) -> None:
        """Make sure that the number of trials at the same time is one, or can be found out.

        Raises:
            ConfigError: it is neither.
        """
        self._launching().check_slots()

    def _equip(self, study: Study, space: SweepSpace) -> None:
        """Give the study its sampler and its pruner.

        Raises:
            ConfigError: one of them cannot work here.
        """
        objectives = len(self._settings.directions)
        node = pruner_for(self._settings.pruner, objectives, self._config)
        self._settings = replace(self._settings, pruner=node)
        study.use(self._sampler(space, study.count()), self._pruner(node, space))

    def _pruner(self, node: Mapping[str, Any], space: SweepSpace) -> Any:
        """The pruner that the study asks; None if it asks none."""
        return _optuna(node) if node else None

    def _sampler(self, space: SweepSpace, begun: int) -> Any:
        """The sampler; one that goes on must not draw again what it drew at the beginning."""
        node = dict(self._settings.sampler)
        if not node:
            return None
        if isinstance(node.get("seed"), int) and node.get("_target_") != GRID:
            node["seed"] += begun
        sampler = _optuna(node)
        return sampler(space=space.base) if isinstance(sampler, partial) else sampler


def _optuna(node: Mapping[str, Any]) -> Any:
    """What a sampler's or a pruner's `_target_` names."""
    from optuna.exceptions import ExperimentalWarning

    target = str(node.get("_target_"))
    if target.startswith("ray."):
        raise ConfigError([f"{target} is Ray Tune's own: it needs tuner=ray"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # chosen knowingly, in our configs
        return instantiate(dict(node), _execution_whitelist_=("optuna.*", "explr.tuning.*"))
