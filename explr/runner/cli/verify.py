"""`explr verify`: checks an installation before a long training runs on it."""

from __future__ import annotations

import importlib.util
import json
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import click
from omegaconf import DictConfig

from explr.config.command_line import parse_arguments
from explr.config.compose import compose_with, hydra_app
from explr.config.diagnosis import diagnose
from explr.config.messages import report_fault
from explr.core.config import ExplrConfig
from explr.core.errors import UsageError
from explr.core.framework import AUTO, NO_FRAMEWORK, Framework, frameworks
from explr.core.secrets.shapes import without_user_info
from explr.frameworks.base import choose_framework
from explr.results.table import hanging
from explr.runner.prepare import prepare
from explr.tracking.destination import Destination
from explr.tracking.home import explr_home, is_local_store
from explr.tracking.mlflow.serving.gate import credentials
from explr.tracking.server import server_url
from explr.utils.environment import past_proxies
from explr.utils.gpu import nvidia_gpu_count
from explr.utils.lease import CONTEXT_GB, divide, grouped
from explr.utils.memory import MemoryBudget, card_budgets
from explr.utils.nvml import read_driver
from explr.utils.verify.check import Check, Probe, passed, probe
from explr.utils.verify.driver import (
    TRIALS,
    binding_check,
    budget_checks,
    driver_checks,
    share_check,
)
from explr.utils.verify.machine import compiler_check, folder_check, ray_check, shared_memory_check
from explr.utils.verify.mlflow import CALL, server_checks

COLOURS = {"pass": "green", "warn": "yellow", "fail": "red"}

PROBED = [one for one in frameworks() if one.probe is not None]
"""Frameworks that there is something to look at of."""

PROBES = {
    **{one.packages[0]: str(one.probe) for one in PROBED},
    "ray": "explr.utils.verify.machine",
}
"""Packages that are checked in separate processes, and the module that checks each."""


def verify_installation(arguments: Sequence[str], as_json: bool) -> int:
    """Check everything that a training needs, and print the results.

    Args:
        arguments: settings of the training, as on its command line.
        as_json: print JSON.

    Returns:
        The exit code: 1 if a check failed, 2 if the settings are wrong.
    """
    try:
        args = parse_arguments(arguments)
        with hydra_app(args.config_dir) as app:
            cfg = compose_with(app, args.overrides, args.config_name, args.multirun)
            checks = find(cfg)
    except Exception as error:  # noqa: BLE001 - reported, with its exit code
        return report_fault(diagnose(error, arguments, prepare))
    count = dict.fromkeys(COLOURS, 0) | Counter(check.status for check in checks)
    if as_json:
        click.echo(json.dumps({**count, "checks": [asdict(check) for check in checks]}, indent=1))
    else:
        for check in checks:
            _print(check)
        click.echo(f"{count['pass']} passed, {count['warn']} warned, {count['fail']} failed")
    return 1 if count["fail"] else 0


def find(cfg: DictConfig) -> list[Check]:
    """Run all checks for a training with this config.

    Args:
        cfg: the composed config.

    Raises:
        UsageError: the config is wrong.
    """
    config = ExplrConfig.from_composed(cfg)
    destination = Destination.in_config(config.tracking)
    uri = None if destination is None else server_url(destination.resolved_uri)
    is_own = destination is not None and is_local_store(destination.resolved_uri)
    with ThreadPoolExecutor() as pool:  # its threads only wait for processes
        looking = {
            name: pool.submit(probe, module)
            for name, module in PROBES.items()
            if importlib.util.find_spec(name) is not None
        }
        asking = None if uri is None else pool.submit(_ask_server, uri, is_own)
        driver, usable = read_driver(), nvidia_gpu_count()
        first = [
            *driver_checks(driver),
            binding_check(),
            *budget_checks(driver, config.gpu.memory_limit_gb, config.gpu.device),
            *_shares(config),
        ]
        last = [
            shared_memory_check(),
            compiler_check(),
            folder_check("outputs", Path("outputs")),
            folder_check("multirun", Path("multirun")),
            folder_check("EXPLR_HOME", explr_home()),
        ]
        found = {name: _told(looking.get(name)) for name in PROBES}
        needed = _framework(cfg)
        for one in PROBED:
            judge = import_module(str(one.probe)).checks
            first += judge(found[one.packages[0]], driver, usable, one is needed)
        return [
            *first,
            *_mlflow(destination, uri, _told(asking)),
            ray_check(found["ray"], config.tuner.name == "ray"),
            *last,
        ]


def _framework(cfg: DictConfig) -> Framework:
    """What a config trains with; none as long as it names neither a framework nor a training."""
    unnamed = cfg.framework.name == AUTO and cfg.train_model == cfg.framework.example
    return choose_framework(NO_FRAMEWORK if unnamed else cfg.framework.name, cfg.train_model)


def _ask_server(uri: str, is_own: bool) -> Probe:
    variables = {**os.environ, **past_proxies(os.environ, uri)}
    variables |= credentials(explr_home()) if is_own else {}
    return probe("explr.utils.verify.mlflow", uri, environment=variables)


def _told(future: Future[Probe] | None) -> Probe | None:
    return None if future is None else future.result()


def _shares(config: ExplrConfig) -> list[Check]:
    """Compare the trials that run at once with the budget, divided as a sweep would do."""
    trials = getattr(config.tuner, "n_jobs", 1)
    if trials == AUTO:
        return [passed(TRIALS, "as many as fit, measured by the sweep (tuner.n_jobs=auto)")]
    budgets: list[MemoryBudget] = []
    if config.gpu.device != "cpu":
        try:
            budgets = card_budgets(config.gpu.memory_limit_gb)
        except UsageError:
            return []  # the check of the budget reports this
    each_gb = {str(number): one.gb for number, one in enumerate(budgets)}
    groups = grouped(each_gb, config.gpu.per_trial or config.framework.processes)
    leases = divide(trials, groups)
    return [share_check(trials, [each.memory_gb for each in leases], CONTEXT_GB, len(groups))]


def _mlflow(destination: Destination | None, uri: str | None, found: Probe | None) -> list[Check]:
    if uri is not None and found is not None:
        return server_checks(found, uri)
    if destination is None:
        return [passed(CALL, "tracking is off")]
    store = without_user_info(destination.resolved_uri)
    return [passed(CALL, f"there is no server to check: runs are written to {store} directly")]


def _print(check: Check) -> None:
    mark = f"{check.status:<4}"
    seen = hanging(f"{mark}  {check.name}: {check.seen}", 6)
    click.echo(click.style(mark, fg=COLOURS[check.status]) + seen.removeprefix(mark))
    if check.remedy:
        click.echo(hanging(f"{'':8}{check.remedy}", 8))
