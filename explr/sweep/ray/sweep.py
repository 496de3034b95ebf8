"""The Ray Tune backend: the same study, jobs and results, but Ray runs and schedules trials."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from explr.config.nodes import is_own_tree
from explr.core.config import RayClusterConfig
from explr.core.errors import ConfigError, ExplrError, UsageError
from explr.core.validation import slots_faults
from explr.launching.pickles import dumps
from explr.runner.prepare import given_to
from explr.sweep.algorithms import (
    OPTUNA,
    RAY,
    argument_faults,
    optuna_pruner,
    optuna_sampler,
)
from explr.sweep.executors.kind import Launching
from explr.sweep.executors.leases import gpus_of_trial, processes_of_trial
from explr.sweep.jobs import SweepJobs
from explr.sweep.ray.cluster import (
    RayDied,
    RayProcesses,
    gpus_per_trial,
    ray_cluster,
    ray_module,
    tracking_variables,
    warn_of_local_store,
)
from explr.sweep.ray.messages import METRIC
from explr.sweep.ray.slot import Work
from explr.sweep.session import SweepSession, SweepSettings
from explr.sweep.space import SweepSpace
from explr.sweep.sweep import Backend
from explr.sweep.watch import SweepWatch
from explr.tracking.callback import tracking_uri_of
from explr.tuning.account import SweepAccount
from explr.tuning.study import Study
from explr.tuning.trial import Outcome
from explr.tuning.trial_account import Limits
from explr.utils.lease import divide
from explr.utils.memory import card_budgets, memory_budget

if TYPE_CHECKING:
    from explr.sweep.ray.searchers import NativeSearch


FOLDER = "ray"
"""Folder of Ray Tune's own files in the sweep's folder."""

KEPT_CHECKPOINTS = 3
"""Copies of each trial's checkpoints that Ray keeps for schedulers that pause trials."""

MODES = {"minimize": "min", "maximize": "max"}
"""Ray's name of each direction."""


class RayBackend:
    """Runs trials with Ray Tune; supports its pruners and samplers as well as Optuna's.

    Args:
        ray: the cluster, and the resources of each trial.
    """

    algorithms: tuple[str, ...] = (*OPTUNA, RAY)

    def __init__(self, ray: RayClusterConfig) -> None:
        self._ray = ray
        self._scheduler: Any = None
        self._suggest: NativeSearch | None = None
        self._study_prunes = False

    def faults(self, launching: Launching, node: str) -> Iterator[str]:
        """See `Backend.faults`; Ray does not measure trials."""
        yield from slots_faults(launching.n_jobs, launching.memory_gb, node, by_ray=True)
        processes, cpus = processes_of_trial(launching.config), self._ray.cpus_per_trial
        if cpus is not None and 0 < cpus < processes:
            yield (
                f"{node}.ray.cpus_per_trial={cpus:g} is less than framework.processes={processes}: "
                "leave it out, or give each process a CPU"
            )
        yield from argument_faults(ray_module().init, self._ray.init, f"{node}.ray.init")

    def equip(self, study: Study, settings: SweepSettings, space: SweepSpace) -> None:
        """See `Backend.equip`."""
        from explr.sweep.ray.schedulers import is_population, rays_own
        from explr.sweep.ray.searchers import NativeSearch, is_native

        pruner, sampler = settings.pruner, settings.sampler
        self._scheduler = rays_own(pruner, space.every) if pruner else None
        if is_population(self._scheduler) and settings.limits.replicates > 1:
            raise ConfigError(
                ["tuner/pruner=pbt changes parameters within a training: set tuner.replicates=1"]
            )
        if settings.confirm:
            raise ConfigError(
                ["tuner.confirm needs tuner=optuna: with Ray Tune, set tuner.confirm=0"]
            )
        self._study_prunes = bool(pruner) and self._scheduler is None
        native = is_native(sampler)
        if native:
            self._suggest = NativeSearch(sampler, space.every, settings.directions)
        study.use(
            None if native else optuna_sampler(sampler, space, study),
            optuna_pruner(pruner) if self._study_prunes else None,
            list(settings.constraints or ()),
        )

    def run(self, sweep: SweepSession, launching: Launching, limits: Limits) -> Outcome | None:
        """See `Backend.run`."""
        ended = [trial.state.is_finished() for trial in sweep.study.frozen()]
        if all(ended) and len(ended) >= limits.n_trials:
            with sweep.recorded():  # nothing is left to run, and Ray takes seconds to start
                return None
        cpus = self._cpus(launching)
        with ray_cluster(self._ray, launching.n_jobs, cpus) as ray, sweep.recorded():
            warn_of_local_store(ray.nodes(), tracking_uri_of(sweep.config))
            return self._fit(ray, sweep, launching, limits)

    def _cpus(self, launching: Launching) -> float:
        """CPUs of each trial."""
        given = self._ray.cpus_per_trial
        return float(processes_of_trial(launching.config)) if given is None else given

    def _fit(
        self, ray: Any, sweep: SweepSession, launching: Launching, limits: Limits
    ) -> Outcome | None:
        """Run the remaining trials with Ray Tune; returns how the first one failed."""
        from explr.sweep.ray.private import note_pruned
        from explr.sweep.ray.schedulers import Past, StudyScheduler, SweepScheduler, is_population
        from explr.sweep.ray.search import StudySearch, Watch
        from explr.sweep.ray.trainable import TrialTrainable, has_snapshot

        study, n_jobs = sweep.study, launching.n_jobs
        population = is_population(self._scheduler)
        watch = SweepWatch(sweep, replace(limits, replicates=1))  # the actor runs the replicates
        watch.progress.slots = lambda: n_jobs
        account = SweepAccount(study, sweep.space.active, limits, self._suggest)
        search = StudySearch(account, int(limits.n_trials) if population else n_jobs, watch)
        there = ray.cluster_resources().get("GPU", 0.0)
        on_cpu = is_own_tree(launching.config) and launching.config.gpu.device == "cpu"
        several = 1 if on_cpu else gpus_of_trial(launching.config)
        gpus = gpus_per_trial(self._ray, n_jobs, there, several)
        rule = StudyScheduler(search) if self._study_prunes else self._scheduler
        variables = tracking_variables(ray.nodes())
        ended = [trial for trial in study.frozen() if trial.state.is_finished()]
        work = _work(sweep, launching, limits, gpus, variables, prunes=rule is not None)
        trainable = ray.tune.with_resources(
            ray.tune.with_parameters(
                TrialTrainable,
                cwd=os.getcwd(),
                path=sys.path,
                work=_pickled(work),
                ended=frozenset(trial.number for trial in ended),
            ),
            {"cpu": self._cpus(launching), "gpu": gpus},
        )
        prune = partial(note_pruned, work.token)
        past = [
            Past(
                str(trial.number),
                trial.intermediate_values,
                trial.value if trial.state.name == "COMPLETE" else None,
            )
            for trial in ended
        ]
        folder = sweep.folder.path / FOLDER
        experiment = ray.tune.Experiment(
            folder.name,
            trainable,
            storage_path=str(folder.parent),
            # Enough to copy one checkpoint while the next is being saved.
            checkpoint_config=ray.tune.CheckpointConfig(
                num_to_keep=KEPT_CHECKPOINTS, checkpoint_at_end=False
            ),
            trial_name_creator=_number,
            trial_dirname_creator=_number,
            max_failures=limits.retries,
        )
        search.add_configurations(experiment)  # Ray does this only without a snapshot
        with watch.shown():
            try:
                ray.tune.run(
                    experiment,
                    metric=METRIC,
                    mode=MODES[study.directions[0]],
                    search_alg=search,
                    scheduler=None if rule is None else SweepScheduler(rule, prune, past),
                    callbacks=[Watch(search, RayProcesses(ray).check)],
                    reuse_actors=True,
                    raise_on_failed_trial=False,
                    verbose=0,
                    resume_config=ray.tune.ResumeConfig() if has_snapshot(folder) else None,
                )
            except RayDied as died:
                ray.shutdown()  # else Ray ends this process in some seconds
                raise ExplrError(
                    f"Ray has died: its process {died} is gone; "
                    f"to resume: {sweep.folder.resumption}"
                ) from None
            except Exception:
                if search.verdict is None:
                    raise
        if search.verdict is not None:
            raise search.verdict
        return account.first_failure


def _work(
    sweep: SweepSession,
    launching: Launching,
    limits: Limits,
    gpus: float,
    variables: Mapping[str, str],
    prunes: bool,
) -> Work:
    """What all trials have in common.

    Args:
        sweep: the sweep.
        launching: what they are launched with.
        limits: replicates, retries and time limits.
        gpus: GPUs of each trial.
        variables: their environment variables.
        prunes: whether anything decides on pruning.
    """
    config = launching.config
    own = is_own_tree(config)
    budget_gb = 0.0
    if own and gpus:  # Ray chooses the GPU of a trial: what the smallest one has is right on each
        limit_gb = config.gpu.memory_limit_gb
        budgets = [budget.gb for budget in card_budgets(limit_gb)]
        budget_gb = min(budgets, default=memory_budget(limit_gb).gb)
    (lease, *_) = divide(math.floor(1 / gpus) if 0 < gpus < 1 else 1, {"0": budget_gb})
    on_cpu = own and config.gpu.device == "cpu"
    return Work(
        task=launching.shared,
        job_of=partial(SweepJobs(config, sweep.space), lease=lease),
        folder=sweep.folder.path,
        preload=launching.preload,
        objectives=launching.objectives,
        limits=limits,
        environment={**variables, **({"CUDA_VISIBLE_DEVICES": ""} if on_cpu else {})},
        token=token_hex(8),
        prunes=prunes,
        metric=launching.metric,
        reports={
            trial.number: trial.intermediate_values
            for trial in sweep.study.frozen()
            if not trial.state.is_finished() and trial.intermediate_values
        },
    )


def _number(trial: Any) -> str:
    """Ray's name of a trial."""
    return str(trial.trial_id)


def _pickled(work: Work) -> bytes:
    """What all trials have in common, pickled for Ray's processes.

    Raises:
        UsageError: something cannot be pickled; the message names it.
    """
    try:
        return dumps(work)
    except Exception as error:  # noqa: BLE001 - any object may raise its own error
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
    """The variable that cannot be pickled and its owner; Ray 2.60 renamed the attribute."""
    path = getattr(failure, "path", None)
    name = path[-1] if path else failure.name
    return f"{name} in {getattr(failure.parent, '__qualname__', failure.parent)}"


def _conforms(backend: RayBackend) -> Backend:
    return backend
