"""One sweep with Ray Tune: the same study, jobs and results, with Ray to run and to schedule."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import cloudpickle
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from explr.core.errors import ConfigError, UsageError
from explr.core.validation import slots_faults
from explr.launching.hydra_job import HydraTask
from explr.runner.prepare import given_to
from explr.sweep.executors.choose import preload
from explr.sweep.jobs import SweepJobs
from explr.sweep.ray.cluster import (
    RaySettings,
    gpus_per_trial,
    ray_cluster,
    tracking_variables,
    warn_of_local_store,
)
from explr.sweep.ray.slot import Work
from explr.sweep.session import SweepSession, SweepSettings, open_sweep
from explr.sweep.space import SweepSpace
from explr.sweep.sweep import OptunaSweep
from explr.sweep.watch import SweepWatch
from explr.tracking.callback import OWN_TASK, MLflowCallback
from explr.tracking.destination import Destination
from explr.tuning.loop import Failures
from explr.tuning.trial import SweepResult
from explr.utils.lease import divide
from explr.utils.memory import memory_budget

if TYPE_CHECKING:
    from explr.sweep.ray.search import Watch
    from explr.sweep.ray.searchers import NativeSearch


FOLDER = "ray"
"""Folder of Ray Tune's own files within the sweep's."""

KEPT_CHECKPOINTS = 3
"""Copies of a trial's checkpoints that Ray keeps, with schedulers that pause trials."""

MODES = {"minimize": "min", "maximize": "max"}
"""Directions in Ray's words."""


class RaySweep(OptunaSweep):
    """A sweep with Ray Tune that is about to run.

    Args:
        settings: how it searches.
        ray: which Ray, and what each trial gets of it.
        config: composed config of the sweep.
        context: Hydra's context.
        task: the app's task function.
    """

    def __init__(
        self,
        settings: SweepSettings,
        ray: RaySettings,
        config: DictConfig,
        context: HydraContext,
        task: TaskFunction,
    ) -> None:
        super().__init__(settings, config, context, task)
        self._ray = ray
        self._scheduler: Any = None
        self._suggest: NativeSearch | None = None

    def run(self, arguments: list[str]) -> SweepResult:
        """See `OptunaSweep.run`."""
        settings, space = self._settings, self.space(arguments)
        self._check_slots()
        with open_sweep(settings, self._config, self._context, space, arguments) as sweep:
            self._equip(sweep.study, space)
            with ray_cluster(self._ray, settings.n_jobs) as ray, sweep.recorded():
                warn_of_local_store(ray.nodes(), self._store())
                failures = self._fit(ray, sweep)
            return sweep.conclude(failures.first)

    def _check_slots(self) -> None:
        """Ray has no trial measured."""
        settings = self._settings
        if faults := slots_faults(settings.n_jobs, settings.memory_gb, "hydra.sweeper", True):
            raise ConfigError(faults)

    def _store(self) -> str | None:
        """Tracking URI of the trials; None where nothing is tracked."""
        for node in (OmegaConf.select(self._config, "hydra.callbacks") or {}).values():
            if str(node.get("_target_", "")).endswith(f".{MLflowCallback.__name__}"):
                return Destination(node.get("uri")).resolved_uri
        return None

    def _pruner(self, node: Mapping[str, Any], space: SweepSpace) -> Any:
        """Ray schedules by itself where it can."""
        from explr.sweep.ray.schedulers import is_population, rays_own

        self._scheduler = rays_own(node, space.every) if node else None
        if is_population(self._scheduler) and self._settings.limits.replicates > 1:
            raise ConfigError(
                ["tuner/pruner=pbt changes parameters within a training: set tuner.replicates=1"]
            )
        return super()._pruner(node, space) if self._scheduler is None else None

    def _sampler(self, space: SweepSpace, begun: int) -> Any:
        """A search algorithm of Ray's chooses in place of the study's sampler."""
        from explr.sweep.ray.searchers import NativeSearch, is_native

        node = self._settings.sampler
        if not is_native(node):
            return super()._sampler(space, begun)
        self._suggest = NativeSearch(node, space.every, self._settings.directions)
        return None

    def _fit(self, ray: Any, sweep: SweepSession) -> Failures:
        """Have Ray Tune run the trials that are left; the count of those that failed."""
        from explr.sweep.ray.schedulers import StudyScheduler, is_population
        from explr.sweep.ray.search import StudySearch, Watch, announce
        from explr.sweep.ray.trainable import TrialTrainable

        settings, study = self._settings, sweep.study
        limits = replace(settings.limits, n_trials=min(settings.limits.n_trials, study.size))
        population = is_population(self._scheduler)
        watch = SweepWatch(sweep, limits)
        watch.progress.slots = lambda: settings.n_jobs
        # Before the search takes over what was left unfinished.
        ended = frozenset(t.number for t in study.frozen() if t.state.is_finished())
        search = StudySearch(
            study,
            sweep.space.active,
            limits,
            live=int(limits.n_trials) if population else settings.n_jobs,
            suggest=self._suggest,
            on_start=watch.started,
            on_change=watch.changed,
            on_end=watch.ended,
            on_report=watch.reported,
        )
        callback = Watch(search)
        announce(search)
        scheduler = self._scheduler
        if scheduler is None and settings.pruner:
            scheduler = StudyScheduler(search)
        gpus = gpus_per_trial(self._ray, settings.n_jobs, ray.cluster_resources().get("GPU", 0.0))
        trainable = ray.tune.with_resources(
            ray.tune.with_parameters(
                TrialTrainable,
                cwd=os.getcwd(),
                path=sys.path,
                work=_pickled(self._work(sweep, gpus, tracking_variables(ray.nodes()))),
                ended=ended,
                prunes=not population,
            ),
            {"cpu": self._ray.cpus_per_trial, "gpu": gpus},
        )
        tuner = self._tuner(ray.tune, sweep.folder.path / FOLDER, trainable, scheduler, callback)
        try:
            with watch.shown():
                tuner.fit()
        except Exception:
            if search.verdict is None:
                raise
        if search.verdict is not None:
            raise search.verdict
        return search.failures

    def _work(self, sweep: SweepSession, gpus: float, variables: Mapping[str, str]) -> Work:
        limits = self._settings.limits
        own = bool(getattr(self._task, OWN_TASK, False))
        budget_gb = memory_budget(self._config.gpu.memory_limit_gb).gb if own and gpus else 0.0
        (lease, *_) = divide(math.floor(1 / gpus) if 0 < gpus < 1 else 1, ["0"], budget_gb)
        on_cpu = own and self._config.gpu.device == "cpu"
        return Work(
            task=HydraTask(self._config, self._context, self._task),
            job_of=partial(SweepJobs(self._config, sweep.space), lease=lease),
            folder=sweep.folder.path,
            preload=preload(self._config, self._task),
            objectives=len(self._settings.directions),
            replicates=limits.replicates,
            retries=limits.retries,
            trial_timeout_s=limits.trial_timeout_s,
            environment={**variables, **({"CUDA_VISIBLE_DEVICES": ""} if on_cpu else {})},
            token=token_hex(8),
        )

    def _tuner(self, tune: Any, folder: Path, trainable: Any, scheduler: Any, watch: Watch) -> Any:
        """Ray's tuner: the one that was interrupted in this folder, or a new one."""
        from explr.sweep.ray.search import METRIC
        from explr.sweep.ray.trainable import has_snapshot

        if has_snapshot(folder):
            tuner = tune.Tuner.restore(str(folder), trainable, resume_unfinished=True)
            # What is asked for now counts, not what was asked for when the sweep began.
            tuner._local_tuner._tune_config.scheduler = scheduler
            return tuner
        settings = self._settings
        return tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                metric=METRIC,
                mode=MODES[settings.directions[0]],
                search_alg=watch.search,
                scheduler=scheduler,
                reuse_actors=True,
                trial_name_creator=_number,
                trial_dirname_creator=_number,
            ),
            run_config=tune.RunConfig(
                storage_path=str(folder.parent),
                name=folder.name,
                stop=watch,
                callbacks=[watch],
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=settings.limits.retries),
                # Enough for a trial that is copied while the next one is being saved.
                checkpoint_config=tune.CheckpointConfig(
                    num_to_keep=KEPT_CHECKPOINTS, checkpoint_at_end=False
                ),
            ),
        )


def _number(trial: Any) -> str:
    """What Ray calls a trial."""
    return str(trial.trial_id)


def _pickled(work: Work) -> bytes:
    """What the trials are made of, as it travels to Ray's processes.

    Raises:
        UsageError: naming what cannot.
    """
    try:
        return bytes(cloudpickle.dumps(work))
    except Exception as error:  # noqa: BLE001 - any object may refuse in a way of its own
        from ray.util import inspect_serializability

        with open(os.devnull, "w") as nowhere:
            _, found = inspect_serializability(
                given_to(work.task.task) or work.task.task, print_file=nowhere
            )
        names = ", ".join(sorted({_name_of(one) for one in found})) or str(error)
        raise UsageError(
            f"the training function cannot be sent to other processes: {names} cannot be pickled"
        ) from None


def _name_of(failure: Any) -> str:
    """The variable that cannot be pickled, and what holds it; Ray names it anew since 2.60."""
    path = getattr(failure, "path", None)
    name = path[-1] if path else failure.name
    return f"{name} in {getattr(failure.parent, '__qualname__', failure.parent)}"
