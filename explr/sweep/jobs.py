"""Turns trials into Hydra jobs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from explr.config.nodes import SWEEPER_NODE, holder_of
from explr.config.settings_file import FILE_OVERLAY
from explr.launching.hydra_job import HydraJob
from explr.sweep.space import SweepSpace
from explr.tuning.trial import Job
from explr.utils.lease import Lease

log = logging.getLogger("explr.sweep")


HYDRA = ".hydra"
"""Where Hydra looks for the config of a run that it is to run again."""


TRIAL_FOLDER = "${hydra.sweep.dir}/${hydra.sweep.subdir}"
"""Folder of a run where an app's sweeps are written to `hydra.run.dir` too."""


class SweepJobs:
    """Turns the jobs of trials into Hydra jobs.

    Args:
        config: composed config of the sweep, whose folder is settled.
        space: its ranges.
        elsewhere: jobs may run in another working directory than this process.
    """

    def __init__(self, config: DictConfig, space: SweepSpace, *, elsewhere: bool = False) -> None:
        self._space = space
        self._config = config
        sweep = OmegaConf.to_container(config.hydra.sweep, resolve=False)
        assert isinstance(sweep, dict)
        self._own_folders = sweep["subdir"] != "${hydra.job.num}"
        if self._own_folders:
            log.warning("hydra.sweep.subdir is left out: a trial's folder is its number")
        self._seed_key: str | None = OmegaConf.select(config, f"{SWEEPER_NODE}.seed_key")
        self._own: dict[str, Any] = {}
        if FILE_OVERLAY in space.fixed and config.hydra.output_subdir != HYDRA:
            log.warning("hydra.output_subdir is left out: %s holds the settings of the file", HYDRA)
            self._own["hydra.output_subdir"] = HYDRA
        # Named for each job: a launcher may compose its config again, and resolve the name there.
        folder = Path(sweep["dir"]).absolute() if elsewhere else sweep["dir"]
        self._own["hydra.sweep.dir"] = str(folder)
        run = config.hydra.get("run") or OmegaConf.create()
        self._run_follows = OmegaConf.to_container(run, resolve=False) == {"dir": TRIAL_FOLDER}

    def __call__(self, job: Job, lease: Lease | None = None) -> HydraJob:
        """The Hydra job of a trial's job.

        Args:
            job: the trial's job.
            lease: the part of a GPU that its worker may use; None if unknown.
        """
        own = dict(self._own)
        if job.replicates > 1:
            own["hydra.sweep.subdir"] = f"{job.trial}/{job.replicate}"
        elif self._own_folders:
            own["hydra.sweep.subdir"] = str(job.trial)
        added = job.replicate + job.seed
        if added and self._seed_key and isinstance(seed := self._seed(job), int):
            own[self._seed_key] = seed + added
        if self._run_follows:
            subdir = own.get("hydra.sweep.subdir", str(job.trial))
            own["hydra.run.dir"] = str(Path(own["hydra.sweep.dir"], subdir))
        if lease is not None:
            own |= lease.settings
        return self._space.job(job.key, job.params, own)

    def _seed(self, job: Job) -> Any:
        """The seed of a trial: sampled, or what its config has."""
        key = str(self._seed_key)
        if key in job.params:
            return job.params[key]
        config = self._config
        if self._follows(key) or self._space.chooses(job.params):  # which may decide the seed
            config = self._space.compose(self._space.job(job.key, job.params, {}))
        return OmegaConf.select(config, key)

    def _follows(self, key: str) -> bool:
        """Whether the seed is an interpolation, which may depend on what is searched."""
        node = holder_of(self._config, key)
        return node is not None and OmegaConf.is_interpolation(node, key.rpartition(".")[2])
