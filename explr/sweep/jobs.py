"""Turns trials into Hydra jobs, and the best trial into the command that trains it again."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from explr.config.command_line import config_flags, program
from explr.config.grammar import quoted
from explr.config.nodes import is_own_tree
from explr.config.settings_file import FILE_OVERLAY, of_training
from explr.launching.hydra_job import HydraJob
from explr.sweep.space import SweepSpace
from explr.tuning.trial import Job
from explr.utils.console import in_notebook
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
        self._own: dict[str, Any] = {}
        if FILE_OVERLAY in space.fixed and config.hydra.output_subdir != HYDRA:
            log.warning("hydra.output_subdir is left out: %s holds the settings of the file", HYDRA)
            self._own["hydra.output_subdir"] = HYDRA
        # Named for each job: a launcher may compose its config again, and resolve the name there.
        folder = Path(sweep["dir"]).absolute() if elsewhere else sweep["dir"]
        self._own["hydra.sweep.dir"] = str(folder)
        run = OmegaConf.to_container(config.hydra, resolve=False).get("run")  # type: ignore[union-attr]
        self._run_follows = run == {"dir": TRIAL_FOLDER}

    def __call__(self, job: Job, lease: Lease | None = None) -> HydraJob:
        """The Hydra job of a trial's job.

        Args:
            job: the trial's job.
            lease: the part of a GPU that its worker may use; None if unknown.
        """
        own = dict(self._own)
        if job.replicates > 1:
            own["hydra.sweep.subdir"] = f"{job.trial}/{job.replicate}"
            if job.replicate and isinstance(seed := self._seed(job), int):
                own["seed"] = seed + job.replicate
        elif self._own_folders:
            own["hydra.sweep.subdir"] = str(job.trial)
        if self._run_follows:
            subdir = own.get("hydra.sweep.subdir", str(job.trial))
            own["hydra.run.dir"] = str(Path(own["hydra.sweep.dir"], subdir))
        if lease is not None:
            own |= lease.settings
        return self._space.job(job.key, job.params, own)

    def _seed(self, job: Job) -> Any:
        """The seed of a trial: sampled, or what its config has."""
        if "seed" in job.params:
            return job.params["seed"]
        config = self._config
        follows = "seed" in config and OmegaConf.is_interpolation(config, "seed")
        if follows or self._space.chooses(job.params):  # which may decide the seed
            config = self._space.compose(self._space.job(job.key, job.params, {}))
        return OmegaConf.select(config, "seed")


def retrain_command(
    config: DictConfig, space: SweepSpace, best: Mapping[str, Any], typed: bool
) -> str:
    """The command, or the Python code, that trains a trial again.

    Args:
        config: composed config of its sweep.
        space: the ranges of the sweep.
        best: the trial, as `results.json` has it.
        typed: a command started the sweep, and not Python code.
    """
    overrides = retrain_overrides(config, space, best)
    if in_notebook():
        return f"explr.run(explr.compose({overrides}), train_model)"
    flags = config_flags(sys.argv[1:]) if typed else []
    return f"{program(is_own_tree(config))} {shlex.join([*flags, *overrides])}"


def retrain_overrides(config: DictConfig, space: SweepSpace, best: Mapping[str, Any]) -> list[str]:
    """Overrides that train a trial again.

    Args:
        config: composed config of its sweep.
        space: the ranges of the sweep.
        best: the trial, as `results.json` has it.
    """
    job = space.job(best["number"], best["params"], {})
    if FILE_OVERLAY in job.overrides:  # the trial's folder contains the settings of the file
        again = quoted(str(Path(best["dir"], "again")))
        return ["--experimental-rerun", best["dir"], f"hydra.run.dir={again}"]
    return of_training(job.overrides, config, program())
