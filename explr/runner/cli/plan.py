"""`explr plan`: composes and checks a run or sweep without running it."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from explr.config.command_line import PLAN, PLANNED, parse_arguments
from explr.config.compose import compose_with, hydra_app
from explr.config.diagnosis import check_types, diagnose
from explr.config.hydra_private import silent_context
from explr.config.importing import make_importable
from explr.config.messages import report_fault
from explr.core.errors import UsageError
from explr.runner.prepare import prepare
from explr.sweep.plan import WIDTH, tell
from explr.sweep.preflight import check_first_job, check_trial
from explr.utils.invocation import with_override
from explr.utils.scratch import scratch_folder


def show_plan(arguments: Sequence[str], samples: int) -> int:
    """Print what a command line would run.

    Args:
        arguments: the command line, without the subcommand.
        samples: number of trials to sample for a sweep.

    Returns:
        The exit code: 2 if the command line or a setting is wrong.
    """
    Plugins.instance()  # before a `hydra_plugins` of the working directory can be found
    make_importable(Path.cwd())
    check: Callable[[DictConfig], Any] = prepare
    try:
        args = parse_arguments(arguments)
        if args.multirun:
            check = partial(check_trial, check=prepare)
            check_first_job(args.overrides, prepare, args.config_dir, args.config_name)
        with hydra_app(args.config_dir) as app:
            cfg = compose_with(app, args.overrides, args.config_name, args.multirun)
            if not args.multirun:
                check_types(app, args.overrides, args.config_name)
            prepared = prepare(cfg)
            of_all = {
                "train_model": prepared.config.train_model,
                "framework": f"{prepared.framework.name} on {prepared.device}",
                "tracking": prepared.config.tracking.backend,
                "seed": prepared.config.seed,
            }
            tell(f"{title:{WIDTH}}{text}" for title, text in of_all.items())
            if args.multirun and cfg.tuner.name != "none":
                _plan_sweep(cfg, silent_context(app), samples)
            else:
                tell(f"    {k}={v}" for k, v in prepared.config.hyperparameters.items())
    except Exception as error:  # noqa: BLE001 - reported, with its exit code
        return report_fault(diagnose(error, arguments, check))
    return 0


def _plan_sweep(cfg: DictConfig, context: HydraContext, samples: int) -> None:
    """Compose, check and print the first trials of a sweep."""
    from explr.plugins.sweeper import SearchSweeper

    HydraConfig.instance().set_config(cfg)
    sweeper = Plugins.instance().instantiate_sweeper(
        hydra_context=context, task_function=lambda config: None, config=cfg
    )
    assert isinstance(sweeper, SearchSweeper)
    overrides = OmegaConf.to_container(cfg.hydra.overrides.task)
    assert isinstance(overrides, list)
    plan = sweeper.plan(overrides, samples)
    for job in plan.jobs:
        prepare(context.config_loader.load_sweep_config(cfg, list(job.overrides)))
    tell(plan.lines(f"{'tuner':{WIDTH}}{cfg.tuner.name}", cfg))


def show_plan_of(command: Sequence[str], samples: int) -> int:
    """Have a Hydra app print what a command of its own would run.

    Args:
        command: the command, as it is typed.
        samples: number of trials to sample.

    Returns:
        The exit code of the command.

    Raises:
        UsageError: there is no such program, or it is not a Hydra app with explr.
    """
    words = with_override(command, f"{PLAN}{samples}")
    with scratch_folder() as folder:
        told = Path(folder, "planned")
        try:
            done = subprocess.run(words, env={**os.environ, PLANNED: str(told)}, check=False)
        except OSError as error:
            reason = error.strerror or error
            raise UsageError(
                f"{command[0]} cannot be run: {reason}; write the command of your app after --, "
                "as in explr plan -- python train.py -m lr=1,2"
            ) from None
        if not told.exists():
            raise UsageError(
                f"`{shlex.join(command)}` ended with code {done.returncode} and planned no sweep: "
                "it is no Hydra app, or explr is not installed in its environment"
            )
    return done.returncode
