"""Checks the first trial of a sweep before anything is launched."""

from __future__ import annotations

import os
import re
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from explr.config.command_line import values_of
from explr.config.compose import FIRST_JOB, compose_with, hydra_app, hydra_config
from explr.config.defaults import type_faults
from explr.config.diagnosis import compose_one, each_named, raise_with
from explr.config.grammar import literal
from explr.config.hydra_private import BASIC_SWEEPER
from explr.config.nodes import DEFAULT_NAME
from explr.config.target import check_source
from explr.core.config import ExplrConfig
from explr.core.errors import ConfigError, UsageError
from explr.core.protocols import TrainFunction
from explr.core.validation import ranges_fault
from explr.results.command import sweep_command
from explr.runner.prepare import check_settings, prepare
from explr.runner.result_file import check_folder
from explr.sweep.executors.kind import Place
from explr.sweep.line import with_named_ranges
from explr.sweep.space import ranges_of, texts_of
from explr.tracking.data.hashes import check_paths
from explr.tracking.destination import working_directory
from explr.tuning.search_space import parse, secret_fault

SWEEP_KEYS = frozenset({"experiment_name", "gpu", "objective", "tracking", "tuner"})
"""Keys of the root that hold for a whole sweep, and that a trial cannot have for itself."""


MAX_NAME = 255
"""The most bytes that the name of a file or folder may have."""

DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
"""Names of the folders that hold the sweeps of a day."""

DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names that Windows keeps for devices."""


def study_name_fault(name: str | None) -> str | None:
    """What is wrong with the name of a study, which is also the name of one folder.

    Args:
        name: the name; None if it has none.
    """
    if name is None or not name.strip():
        why = "it is empty: leave tuner.study_name out to name the study after its start"
    elif name in (".", ".."):
        why = "it stands for another folder"
    elif "/" in name:
        why = "it has a /, and would be more than one folder"
    elif not name.isprintable():
        why = "it has a character that cannot be printed"
    elif (size := len(os.fsencode(name))) > MAX_NAME:
        why = f"it has {size} bytes, and the name of a folder at most {MAX_NAME}"
        name = f"{name[:20]}…"
    elif DAY.fullmatch(name):
        why = "it is reserved for the folder of the sweeps of that day"
    elif DEVICE.fullmatch(name):
        why = "it is reserved for a device in Windows"
    else:
        return None
    return f"tuner.study_name={'null' if name is None else repr(name)} is no name of a study: {why}"


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
        loader = app.config_loader
        whole = compose_with(app, overrides, config_name, multirun=True)
        tuned = bool(whole.tuner.name != "none")
        node = OmegaConf.select(whole, "hydra.sweeper.params")
        params = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_dict(node) else {}
        assert isinstance(params, dict)
        task = OmegaConf.to_container(whole.hydra.overrides.task, resolve=False)
        assert isinstance(task, list)
        line = OverridesParser.create(config_loader=loader).parse_overrides(task)
        space = OmegaConf.to_container(whole.search_space, resolve=True)
        if fault := ranges_fault(space):
            raise ConfigError([fault])
        if tuned:
            line = with_params(with_named_ranges(line, whole), params, loader, ranges_of)
            _check_searched(line, str(whole.tuner.name))
        else:
            line = with_params(line, params, loader)
            _refuse_secrets(line)
            if whole.hydra.sweeper._target_ == BASIC_SWEEPER:
                _refuse_ranges(line)
                _refuse_one_training(line, space)
        trial = partial(check_trial, check=check, train_model=train_model)
        first = first_config(line, whole, loader, trial)
        one = partial(compose_one, app, config_name=config_name)
        faults = type_faults([str(each.input_line) for each in line], one, loader, whole)
        with hydra_config(whole):
            if tuned:
                _check_sweep_folder(whole)
            check_folder(Path(whole.hydra.sweep.dir))
        with hydra_config(first):
            raise_with(faults, partial(trial, first))
    return tuned


def with_params(
    line: Sequence[Override],
    params: Mapping[Any, Any],
    loader: ConfigLoader,
    check: Callable[[Mapping[str, Any]], Any] = parse,
) -> list[Override]:
    """The overrides of a sweep, and the params of its config that none of them replaces.

    Args:
        line: the overrides of the sweep.
        params: ranges and values of the config, in Hydra's grammar by parameter.
        loader: Hydra's config loader.
        check: checks the params that are added.

    Raises:
        ConfigError: naming every param that cannot be read.
    """
    named = {override.key_or_group for override in line}
    left = {k: v for k, v in texts_of(params).items() if k.lstrip("+~") not in named}
    check(left)
    texts = [f"{k}={v if isinstance(v, str) else literal(v)}" for k, v in left.items()]
    return [*line, *OverridesParser.create(config_loader=loader).parse_overrides(texts)]


def first_config(
    line: Sequence[Override],
    config: DictConfig,
    loader: ConfigLoader,
    check: Callable[[DictConfig], Any] = lambda config: None,
) -> DictConfig:
    """Compose the config of the first trial: Hydra refuses what it cannot apply.

    Args:
        line: the overrides of the sweep; of a range the first value counts.
        config: composed config of the sweep.
        loader: Hydra's config loader.
        check: checks what the sound overrides compose to, if others are not.

    Raises:
        ConfigError: naming every override that cannot be applied.
        HydraException: the config tree cannot be composed.
    """
    values = [text for override in line for text in values_of(override)]
    shown = [str(override.input_line) for override in line]
    return trial_config(values, config, loader, check, shown)


def trial_config(
    overrides: Sequence[str],
    config: DictConfig,
    loader: ConfigLoader,
    check: Callable[[DictConfig], Any] = lambda config: None,
    shown: Sequence[str] | None = None,
) -> DictConfig:
    """Compose the config of a trial.

    Args:
        overrides: the overrides of the trial.
        config: composed config of the sweep.
        loader: Hydra's config loader.
        check: checks what the sound overrides compose to, if others are not.
        shown: the overrides of the sweep, which are named in their place.

    Raises:
        ConfigError: naming every override that cannot be applied.
        HydraException: the config tree cannot be composed.
    """

    def compose(texts: Iterable[str]) -> DictConfig:
        return loader.load_sweep_config(config, [*texts, *FIRST_JOB])

    try:
        return compose(overrides)
    except (HydraException, OmegaConfBaseException) as error:
        named = each_named(error, shown or overrides, compose, loader, check)
        if named is error:
            raise
        raise named from None


def _check_searched(line: Sequence[Override], tuner: str) -> None:
    """Check that there is something to search, and that a trial can have each value of it.

    Raises:
        UsageError: there is nothing to search.
        ConfigError: naming each range of a setting that holds for the whole sweep.
    """
    last = {(override.key_or_group, override.package): override for override in line}
    searched = [override for override in last.values() if override.is_sweep_override()]
    if not searched:
        raise UsageError(
            f"tuner={tuner} has nothing to search: give a range, such as "
            "'lr=interval(1e-4,1e-1)', or a search space with ranges"
        )
    if faults := [fault for override in searched if (fault := _own_fault(override))]:
        raise ConfigError(faults)


def _own_fault(override: Override) -> str | None:
    """Why a tuner cannot search a range; None if it can."""
    key, line = override.key_or_group, str(override.input_line)
    root = re.split("[./]", key)[0]
    if root == "search_space" and key != root:
        name = key.partition(".")[2]
        return f"{line} searches no hyperparameter: write {name}={line.partition('=')[2]}"
    if root not in SWEEP_KEYS:
        return None
    grid = "" if root == "tuner" else ", or with tuner=none train once with each"
    return f"{line}: {key} holds for a whole sweep: start a sweep with each of the values{grid}"


def _refuse_one_training(line: Sequence[Override], space: Any) -> None:
    """Refuse a grid of one training beside ranges that only a tuner searches.

    Raises:
        UsageError: there is nothing else to try.
    """
    if space and not any(override.is_sweep_override() for override in line):
        raise UsageError(
            f"-m alone searches nothing: add tuner=optuna, which searches the ranges of "
            f"{', '.join(map(str, space))}, or list values, as in {next(iter(space))}=…,…"
        )


def _refuse_secrets(line: Sequence[Override]) -> None:
    """Refuse a grid over a secret.

    Raises:
        ConfigError: naming each.
    """
    swept = [each for each in line if each.is_choice_sweep()]
    examples = {each.key_or_group: next(each.sweep_iterator(), None) for each in swept}
    if faults := [fault for key, one in examples.items() if (fault := secret_fault(key, one))]:
        raise ConfigError(faults)


def _refuse_ranges(line: Sequence[Override]) -> None:
    """Refuse ranges where Hydra's own sweeper would run a grid.

    Raises:
        ConfigError: naming each.
    """
    swept = [each for each in line if each.is_sweep_override() and not each.is_discrete_sweep()]
    if swept:
        raise ConfigError(
            [
                f"{each.input_line} is a range, and tuner=none takes lists of values, as in "
                f"{each.get_key_element()}=0.1,0.2: add tuner=optuna to search it"
                for each in swept
            ]
        )


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
        config = ExplrConfig.from_composed(cfg)
        check_paths(config.data.listed, working_directory())  # this one hashes them for all


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
