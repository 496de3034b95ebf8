"""Checks the first trial of a sweep before anything is launched."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from explr.config.command_line import values_of
from explr.config.compose import FIRST_JOB, compose_with, hydra_app, hydra_config
from explr.config.nodes import DEFAULT_NAME
from explr.config.target import check_source
from explr.core.config import ExplrConfig
from explr.core.errors import UsageError
from explr.core.protocols import TrainFunction
from explr.core.validation import study_name_fault
from explr.runner.prepare import check_settings, prepare
from explr.runner.result_file import check_folder
from explr.sweep.executors.kind import Place
from explr.sweep.line import with_named_ranges
from explr.sweep.space import ranges_of, texts_of


def check_sweep(args: Namespace) -> bool:
    """Check a sweep.

    Args:
        args: the command line, as `parse_arguments` read it.

    Returns:
        Whether a tuner chooses the trials, rather than Hydra's own grid.

    Raises:
        UsageError: the first trial could not start, or there is nothing to search.
        HydraException, OmegaConfBaseException: an override cannot be applied.
    """
    return check_first_job(args.overrides, prepare, args.config_dir, args.config_name)


def check_first_job(
    overrides: Sequence[str],
    check: Callable[[DictConfig], Any],
    config_dir: str | None = None,
    config_name: str | None = None,
    *,
    train_model: TrainFunction | None = None,
) -> bool:
    """Check the first trial of a sweep, also of one from Python.

    Args:
        overrides: settings and ranges in Hydra's grammar.
        check: checks the config of the first trial.
        config_dir: a further folder of configs, searched after the packaged ones.
        config_name: name of the primary config; None takes explr's own.
        train_model: a function to use in place of the one that the config names.
    """
    with hydra_app(config_dir) as app:
        whole = compose_with(app, overrides, config_name, multirun=True)
        tuned = bool(whole.tuner.name != "none")
        parser = OverridesParser.create(config_loader=app.config_loader)
        line = parser.parse_overrides(list(overrides))
        if tuned:
            line = with_named_ranges(line, whole)
        named = {override.key_or_group for override in line}
        params = _params(whole)
        ranges_of(params := {k: v for k, v in params.items() if k not in named})
        line += parser.parse_overrides([f"{k}={v}" for k, v in params.items()])
        last = {(override.key_or_group, override.package): override for override in line}
        if tuned and not any(override.is_sweep_override() for override in last.values()):
            raise UsageError(
                f"tuner={whole.tuner.name} has nothing to search: give a range, such as "
                "'lr=interval(1e-4,1e-1)', or a search space with ranges"
            )
        values = [values_of(override)[0] for override in line if values_of(override)]
        first = compose_with(app, [*values, *FIRST_JOB], config_name, multirun=False)
        with hydra_config(whole):
            if tuned:
                _check_sweep_folder(whole)
            check_folder(Path(whole.hydra.sweep.dir))
        with hydra_config(first):
            check_trial(first, check, train_model)
    return tuned


def check_trial(
    cfg: DictConfig, check: Callable[[DictConfig], Any], train_model: TrainFunction | None = None
) -> None:
    """Check the config of a trial as far as it can be checked in this process.

    Args:
        cfg: the composed config of the trial.
        check: checks it if the trial runs in this process.
        train_model: a function to use in place of the one that the config names.

    Raises:
        UsageError: the trial could not start.
    """
    place = _place(cfg)
    if place is Place.PROCESS:
        check(cfg)
    elif place is Place.MACHINE:
        check_settings(cfg, train_model)
        if train_model is None:  # the fork server imports it
            check_source(cfg.train_model)
    else:  # other machines may have devices and modules that this one lacks
        ExplrConfig.from_composed(cfg)


def _check_sweep_folder(cfg: DictConfig) -> None:
    """Check that a sweep has one folder, and the name of a study where it names this folder.

    The default name is a day and a time. To resume such a sweep, its name may be given again.

    Raises:
        UsageError: only a trial could name the folder, or the name is not that of one folder.
    """
    name = OmegaConf.select(cfg, "tuner.study_name")
    folder = OmegaConf.to_container(cfg.hydra.sweep, resolve=False)
    given = OmegaConf.to_container(cfg.tuner, resolve=False)
    assert isinstance(folder, dict)
    assert isinstance(given, dict)
    for key in re.findall(r"\$\{hydra:([^{}]+)\}", folder["dir"]):
        if OmegaConf.select(cfg.hydra, key) is None:
            raise UsageError(
                f"hydra.sweep.dir={folder['dir']}: only a trial has hydra.{key}, and a sweep has "
                "one folder for all of them"
            )
    if "tuner.study_name" not in folder["dir"] or given.get("study_name") == DEFAULT_NAME:
        return
    if (fault := study_name_fault(name)) is None:
        return
    from explr.results.sweep import sweep_command  # with all that reads a sweep

    try:
        there = sweep_command(Path(cfg.hydra.sweep.dir))
    except (OSError, ValueError):  # no such path can be
        there = None
    if there is None or there.study != name:
        raise UsageError(fault)


def _place(cfg: DictConfig) -> Place:
    """Where the trials run: with `tuner=ray` Ray decides, else the launcher."""
    if cfg.tuner.name == "ray":
        return Place.ANYWHERE if cfg.tuner.ray.address else Place.MACHINE
    from explr.sweep.executors.choose import kind_of  # with all that runs a sweep

    return kind_of(cfg.hydra.launcher).place(cfg.hydra.launcher)


def _params(cfg: DictConfig) -> dict[str, Any]:
    """The ranges in the sweeper's config."""
    node = OmegaConf.select(cfg, "hydra.sweeper.params")
    params = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_dict(node) else {}
    assert isinstance(params, dict)
    return texts_of(params)
