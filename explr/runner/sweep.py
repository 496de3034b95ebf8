"""One sweep with Optuna, from the composed config to the results in its folder."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.types import HydraContext, TaskFunction
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from explr.core.errors import ConfigError, SweepError
from explr.launching.hydra_job import HydraJob, HydraTask
from explr.launching.lease import Lease
from explr.runner.any_launcher import LauncherExecutor, listening_host, make_ready
from explr.runner.arguments import program
from explr.runner.executors import InlineExecutor, LocalExecutor
from explr.runner.leases import leases_for
from explr.runner.overlay import FILE_OVERLAY, SCRIPT_SPACE
from explr.runner.sweep_folder import SweepFolder, remembered_study
from explr.runner.sweep_record import note_results, open_record, refuse_shared_store, sole_study
from explr.runner.sweep_space import SweepSpace
from explr.runner.termination import terminable
from explr.tracking.callback import OWN_TASK
from explr.tuning.base import Executor, Job, SweepResult
from explr.tuning.channel import ChannelServer
from explr.tuning.lock import sole_controller
from explr.tuning.loop import Limits, SweepLoop
from explr.tuning.search_space import quoted
from explr.tuning.study import Study

log = logging.getLogger("explr.sweep")

BASIC = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
GRID = "explr.tuning.grid.Grid"
LOCAL = "explr.plugins.local_launcher.LocalLauncher"


@dataclass(frozen=True)
class SweepSettings:
    """How a sweep searches; the fields of `hydra/sweeper=explr_optuna`.

    Args:
        limits: when the sweep ends.
        n_jobs: trials at the same time.
        directions: `minimize` or `maximize` for each objective.
        study_name: name of the study; None takes the name of the sweep's folder.
        storage: Optuna storage URL; None keeps a journal in the sweep's folder.
        sampler: an Optuna sampler, as a `_target_`.
        pruner: an Optuna pruner, as a `_target_`; empty never prunes.
        enqueue: known configurations to try first.
        params: ranges by parameter, in Hydra's sweep grammar.
    """

    limits: Limits
    n_jobs: int
    directions: tuple[str, ...]
    study_name: str | None
    storage: str | None
    sampler: Mapping[str, Any]
    pruner: Mapping[str, Any]
    enqueue: list[dict[str, Any]] = field(default_factory=list)
    params: Mapping[str, Any] = field(default_factory=dict)


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
        sweep = OmegaConf.to_container(config.hydra.sweep, resolve=False)
        assert isinstance(sweep, dict)
        self._own_folders = sweep["subdir"] != "${hydra.job.num}"

    def run(self, arguments: list[str]) -> SweepResult:
        """Search until the limits are reached, and write the results.

        Args:
            arguments: the overrides of the command line.

        Raises:
            UsageError: the configuration is at fault, or another controller runs this sweep.
            SweepError: too many trials failed, or all of them.
            KeyboardInterrupt: the sweep was interrupted; `explr resume` goes on with it.
        """
        settings = self._settings
        refuse_shared_store(settings.storage, self._config)
        space = self.space(arguments)
        path = Path(self._config.hydra.sweep.dir).absolute()
        path.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            stack.enter_context(terminable())
            stack.enter_context(sole_controller(path))
            study = self._study(path, space, settings.storage)
            if settings.storage is not None:  # other folders may search in it too
                stack.enter_context(sole_study(settings.storage, study.name))
            study.check_space(space.every)
            study.enqueue(settings.enqueue, space.every)
            limits = replace(settings.limits, n_trials=min(settings.limits.n_trials, study.size))
            folder = SweepFolder(path, study, settings.limits.replicates, space.value)
            folder.remember_command(arguments)
            if self._own_folders:
                log.warning("hydra.sweep.subdir is left out: a trial's folder is its number")
            record = open_record(self._context, self._config)
            holder: list[SweepLoop] = []

            def report(key: int, step: int, value: float) -> bool:
                return holder[0].report(key, step, value)

            channel = ChannelServer(report, self._listening_host())
            stack.callback(channel.close)
            executor = self._executor(space, channel, folder, report)
            stack.callback(executor.close)
            loop = SweepLoop(study, executor, space.active, limits, folder.started, folder.ended)
            holder.append(loop)
            try:
                loop.run()
            except KeyboardInterrupt:
                log.warning("interrupted; to go on: explr resume %s", folder.shown)
                raise
            finally:
                results = folder.write_results()
                note_results(record, results)
            folder.tell(results, self._retrain(space, results))
            if loop.first_failure is not None and folder.fruitless:
                detail = loop.first_failure.detail or loop.first_failure.reason
                raise SweepError(f"{detail.rstrip()}\nevery trial failed, the first with this")
            front = results.get("front", [])
            return SweepResult(path, results["trials"], results["best"], front)

    def _retrain(self, space: SweepSpace, results: Mapping[str, Any]) -> list[str]:
        """Overrides that train the best trial once more."""
        best = results["best"]
        if best is None:
            return []
        job = space.job(best["number"], best["params"], {})
        if FILE_OVERLAY in job.overrides:  # what the file said is in the trial's own folder
            again = quoted(str(Path(best["dir"], "again")))
            return ["--experimental-rerun", best["dir"], f"hydra.run.dir={again}"]
        own: tuple[str, ...] = ("tuner", "hydra", "+hydra", "++hydra")
        if program() != "explr":  # what a script says of itself
            own += ("train_model=", SCRIPT_SPACE)
        return [text for text in job.overrides if not text.startswith(own)]

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
        settings = self._settings
        space = self.space(arguments)
        with tempfile.TemporaryDirectory() as folder:
            study = self._study(Path(folder), space, None)
            study.enqueue(settings.enqueue, space.every)
            trials = [
                study.ask(space.active) for _ in range(int(min(samples, settings.limits.n_trials)))
            ]
        return [space.job(number, params, {}) for number, params in trials]

    def _study(self, path: Path, space: SweepSpace, storage: str | None) -> Study:
        settings = self._settings
        name = remembered_study(path) or settings.study_name or path.name
        pruner = _optuna(settings.pruner) if settings.pruner else None
        if pruner is not None and len(settings.directions) > 1:
            raise ConfigError(
                [
                    "pruning needs one objective: to search for several, set tuner/pruner=none, or "
                    "hydra.sweeper.pruner=null in an app of your own"
                ]
            )
        study = Study(path, name, settings.directions, storage)
        study.use(self._sampler(space, study.count()), pruner)
        return study

    def _sampler(self, space: SweepSpace, begun: int) -> Any:
        """The sampler; one that goes on must not draw again what it drew at the beginning."""
        node = dict(self._settings.sampler)
        if not node:
            return None
        if isinstance(node.get("seed"), int) and node.get("_target_") != GRID:
            node["seed"] += begun
        sampler = _optuna(node)
        return sampler(space=space.base) if isinstance(sampler, partial) else sampler

    def _executor(
        self,
        space: SweepSpace,
        channel: ChannelServer,
        folder: SweepFolder,
        report: Callable[[int, int, float], bool],
    ) -> Executor:
        settings = self._settings
        objectives = len(settings.directions)

        def job_of(job: Job, lease: Lease | None) -> HydraJob:
            return space.job(job.key, job.params, self._own_settings(job, lease))

        target = self._config.hydra.launcher._target_
        if target == LOCAL:
            return LocalExecutor(
                HydraTask(self._config, self._context, self._task),
                job_of,
                leases_for(self._config, self._task, settings.n_jobs),
                channel,
                self._preload(),
                objectives,
                folder.output_of,
            )
        if target == BASIC:
            if settings.n_jobs > 1:
                log.warning("hydra/launcher=basic runs one trial at a time")
            task = HydraTask(self._config, self._context, self._task)
            return InlineExecutor(task, job_of, report, objectives)

        def launcher() -> Any:
            return Plugins.instance().instantiate_launcher(
                config=self._config, hydra_context=self._context, task_function=self._task
            )

        slots = make_ready(self._config.hydra.launcher, settings.n_jobs)
        return LauncherExecutor(launcher, job_of, slots, channel, objectives)

    def _listening_host(self) -> str | None:
        target = self._config.hydra.launcher._target_
        return None if target in (LOCAL, BASIC) else listening_host(self._config.hydra.launcher)

    def _own_settings(self, job: Job, lease: Lease | None) -> dict[str, Any]:
        """What distinguishes a job beyond its parameters."""
        own: dict[str, Any] = {}
        if job.replicates > 1:
            own["hydra.sweep.subdir"] = f"{job.trial}/{job.replicate}"
            seed = OmegaConf.select(self._config, "seed")
            if isinstance(seed, int):
                own["seed"] = seed + job.replicate
        elif self._own_folders:
            own["hydra.sweep.subdir"] = str(job.trial)
        if lease is not None and lease.memory_gb:
            own["gpu.memory_limit_gb"] = lease.memory_gb
        return own

    def _preload(self) -> list[str]:
        """The framework, and what else the launcher's config names."""
        modules = list(OmegaConf.select(self._config, "hydra.launcher.preload") or [])
        if getattr(self._task, OWN_TASK, False):
            from explr.frameworks.base import get_framework

            modules.append(get_framework(self._config.framework.name).package)
        return modules


def _optuna(node: Mapping[str, Any]) -> Any:
    """What a sampler's or a pruner's `_target_` names."""
    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # chosen knowingly, in our configs
        return instantiate(dict(node), _execution_whitelist_=("optuna.*", "explr.tuning.*"))
