"""`explr plan -- COMMAND`: a Hydra app prints what it would search, in place of running it."""

from __future__ import annotations

import sys
from functools import partial
from typing import NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import TaskFunction
from omegaconf import OmegaConf

from explr.config.command_line import PLAN
from explr.config.hydra_private import BASIC_SWEEPER, Hydra, silent_context, take_over
from explr.config.hydra_versions import compose_sweep, store
from explr.config.messages import report_fault
from explr.core.errors import UsageError
from explr.plugins.sweeper import SearchSweeper
from explr.sweep.plan import WIDTH, grid_lines, tell


def plan_instead(samples: int) -> None:
    """Have the Hydra app of this process print its plan and exit, before its callbacks begin.

    Args:
        samples: number of trials to sample.
    """
    group, _, option = f"{PLAN}{samples}".strip("+").partition("=")
    store(option, {}, group, "_global_")
    take_over(partial(_print_plan, samples=samples), _refuse)


def _print_plan(
    app: Hydra, config_name: str | None, task: TaskFunction, overrides: list[str], *, samples: int
) -> NoReturn:
    try:
        given = [text for text in overrides if not text.startswith(PLAN)]
        config = compose_sweep(app, config_name, given)
        HydraConfig.instance().set_config(config)
        if config.hydra.sweeper._target_ == BASIC_SWEEPER:
            lines = list(grid_lines(config, app.config_loader, samples))
        else:
            sweeper = Plugins.instance().instantiate_sweeper(
                hydra_context=silent_context(app), task_function=task, config=config
            )
            name = config.hydra.runtime.choices["hydra/sweeper"]
            if not isinstance(sweeper, SearchSweeper):
                raise UsageError(
                    f"hydra/sweeper={name} does not say what it would run: `explr plan` knows "
                    "explr_optuna, explr_ray and Hydra's own grid"
                )
            arguments = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
            assert isinstance(arguments, list)
            plan = sweeper.plan(arguments, samples)
            for job in plan.jobs:
                app.config_loader.load_sweep_config(config, list(job.overrides))
            lines = list(plan.lines(f"{'sweeper':{WIDTH}}{name}", config))
        tell(lines)
    except Exception as error:  # noqa: BLE001 - reported, with its exit code
        sys.exit(report_fault(error))
    sys.exit(0)


def _refuse() -> NoReturn:
    sys.exit(report_fault(UsageError("this command trains once: add -m to plan a sweep")))
