"""The executors of `hydra/launcher=explr_local`: a given number of jobs, or as many as fit."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Any

from explr.core.validation import AUTO
from explr.sweep.executors.kind import ExecutorKind, JobOf, Launching, OutputOf, Place
from explr.sweep.executors.leases import (
    FixedLeases,
    gpu_budgets,
    gpus_of_trial,
    leases_for,
    only_device,
    processes_of_trial,
)
from explr.sweep.executors.local import LocalExecutor
from explr.sweep.executors.meter import MeasuredTrial
from explr.sweep.executors.packed import CountedReports, packed_executor
from explr.sweep.executors.trial_process import RunTrial
from explr.tuning.channel import ChannelServer, Report
from explr.tuning.executor import Executor

log = logging.getLogger("explr.sweep")


SETTINGS = ("_target_", "_recursive_", "n_jobs", "preload")
"""The keys of `hydra.launcher` that `explr_local` has."""

INSTEAD = {
    "array_parallelism": "hydra.launcher.n_jobs",
    "timeout": "hydra.sweeper.trial_timeout_s",
    "timeout_min": "hydra.sweeper.trial_timeout_s",
}
"""What is similar here to a key of another launcher's."""


def tell_left_out(keys: Iterable[str]) -> None:
    """Log which keys of `hydra.launcher` are another launcher's, and have no effect here.

    Args:
        keys: the keys of the node.
    """
    left = [key for key in keys if key not in SETTINGS]
    if not left:
        return
    similar = [f"{INSTEAD[key]} in place of {key}" for key in left if key in INSTEAD]
    log.warning(
        "hydra.launcher.%s: left out, explr_local has only n_jobs and preload%s",
        ", ".join(left),
        f"; use {', '.join(similar)}" if similar else "",
    )


class LocalKind(ExecutorKind):
    """Each job in a fresh process on this machine."""

    measures_memory = True

    def place(self, launcher: Any) -> Place:
        """See `ExecutorKind.place`."""
        return Place.MACHINE

    @contextmanager
    def executor(
        self, launching: Launching, job_of: JobOf, report: Report, output_of: OutputOf
    ) -> Iterator[Executor]:
        """See `ExecutorKind.executor`."""
        tell_left_out(map(str, launching.launcher))
        config, auto = launching.config, launching.n_jobs == AUTO
        shared = launching.shared
        run = RunTrial(shared, launching.objectives)
        counted = CountedReports(report)
        heard = counted if auto else report
        with closing(ChannelServer(heard, None, launching.metric, launching.missed)) as channel:
            local = partial(
                LocalExecutor,
                shared,
                job_of,
                channel=channel,
                preload=launching.preload,
                run=MeasuredTrial(run) if auto else run,
                output_of=output_of,
            )
            executor: Executor
            if auto:
                budgets_gb = gpu_budgets(config)
                device = only_device(config)
                executor = packed_executor(
                    local, budgets_gb, device, launching.memory_gb, counted,
                    gpus_of_trial(config), processes_of_trial(config),
                )  # fmt: skip
            else:
                executor = local(FixedLeases(leases_for(config, launching.n_jobs)))
            with closing(executor):
                yield executor
