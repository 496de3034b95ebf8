"""The jobs of a sweep: what distinguishes each from the sweep's own config."""

from __future__ import annotations

import logging
from typing import Any

from omegaconf import DictConfig, OmegaConf

from explr.launching.hydra_job import HydraJob
from explr.runner.sweep_space import SweepSpace
from explr.tuning.trial import Job
from explr.utils.lease import Lease

log = logging.getLogger("explr.sweep")


class SweepJobs:
    """Turns the jobs of trials into Hydra's.

    Args:
        config: composed config of the sweep.
        space: its ranges.
    """

    def __init__(self, config: DictConfig, space: SweepSpace) -> None:
        self._space = space
        self._seed = OmegaConf.select(config, "seed")
        sweep = OmegaConf.to_container(config.hydra.sweep, resolve=False)
        assert isinstance(sweep, dict)
        self._own_folders = sweep["subdir"] != "${hydra.job.num}"
        if self._own_folders:
            log.warning("hydra.sweep.subdir is left out: a trial's folder is its number")

    def __call__(self, job: Job, lease: Lease | None = None) -> HydraJob:
        """Hydra's job for a trial's.

        Args:
            job: the trial's job.
            lease: what its slot may use of a GPU, if that is known.
        """
        own: dict[str, Any] = {}
        if job.replicates > 1:
            own["hydra.sweep.subdir"] = f"{job.trial}/{job.replicate}"
            if isinstance(self._seed, int):
                own["seed"] = self._seed + job.replicate
        elif self._own_folders:
            own["hydra.sweep.subdir"] = str(job.trial)
        if lease is not None and lease.memory_gb:
            own["gpu.memory_limit_gb"] = lease.memory_gb
        return self._space.job(job.key, job.params, own)
