"""All faults of a command line at once.

Hydra stops at the first override that it cannot apply. After it has, each override is tried beside
those that are sound, and what these compose to is checked, so that all faults are named together.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, ValidationError

from explr.config.command_line import parse_arguments, values_of
from explr.config.compose import compose_with, hydra_app
from explr.config.hydra_private import Hydra
from explr.config.messages import short_message, yaml_message
from explr.config.settings_file import FILE_OVERLAY, as_overrides, file_overlay
from explr.core.config import ExplrConfig
from explr.core.errors import ConfigError, ExplrError, UsageError
from explr.core.user_code import user_traceback

MOST_VALUES = 20
"""How many values of one swept key are tried."""


def diagnose(
    error: Exception,
    arguments: Sequence[str],
    check: Callable[[DictConfig], Any],
) -> Exception:
    """Turn a complaint about a command line into one that names every fault.

    Args:
        error: what was raised.
        arguments: the command line.
        check: checks what the sound overrides compose to.

    Returns:
        A `UsageError`, or `error` itself where it is none of the configuration.
    """
    if isinstance(error, ExplrError) or user_traceback(error) is not None:
        return error
    try:
        args = parse_arguments(arguments)
    except UsageError:
        return error
    if args.shell_completion:
        return error  # its words are no overrides
    if args.help or args.cfg or args.info:
        check = ExplrConfig.from_composed  # nothing is to run
    with hydra_app(args.config_dir) as app:

        def compose(overrides: list[str]) -> DictConfig:
            return compose_with(app, overrides, args.config_name, multirun=False)

        try:
            compose([])
        except Exception:  # noqa: BLE001 - the config tree itself is at fault, not the overrides
            return error
        singles = [
            single
            for override in args.overrides
            for single in _singly(override, app, args.multirun, compose)
        ]
        sound, faulty = _sorted_out(singles, compose)
        try:
            whole = compose(sound)
            faults = [_sentence(text, fault, whole, app) for text, fault in faulty.items()]
            check(whole)
        except ConfigError as rest:
            faults += rest.faults
        except UsageError as rest:
            faults.append(str(rest))
        except Exception:  # noqa: BLE001 - each override is fine by itself: `error` says it best
            return error
    return ConfigError(list(dict.fromkeys(faults))) if faults else error


def _sorted_out(
    overrides: Sequence[str], compose: Callable[[list[str]], DictConfig]
) -> tuple[list[str], dict[str, Exception]]:
    """Overrides that can be applied together, and the others, each with what it raised.

    One may need another that comes later, as `tuner.n_trials` needs `tuner=optuna`.
    """
    sound: list[str] = []
    waiting = list(dict.fromkeys(overrides))
    while True:
        faulty: dict[str, Exception] = {}
        for override in waiting:
            try:
                compose([*sound, override])
                sound.append(override)
            except Exception as fault:  # noqa: BLE001 - whatever it is, it is what to tell
                faulty[override] = fault
        if not faulty or len(faulty) == len(waiting):
            return sound, faulty
        waiting = list(faulty)


def _singly(
    override: str, app: Hydra, multirun: bool, compose: Callable[[list[str]], DictConfig]
) -> list[str]:
    """An override as several: one for each value of a range, or each leaf of a faulty file."""
    parsed = _parsed(override, app)
    if override == FILE_OVERLAY:
        try:
            compose([override])
        except Exception:  # noqa: BLE001 - which leaf it is comes out leaf by leaf
            leaves = list(as_overrides(file_overlay()))
            # A key that an override cannot spell is not one of explr.
            return [leaf for leaf in leaves if _parsed(leaf, app) is not None]
    if parsed is None or not multirun or not parsed.is_sweep_override():
        return [override]
    return values_of(parsed, MOST_VALUES)


def _parsed(override: str, app: Hydra) -> Override | None:
    try:
        return OverridesParser.create(config_loader=app.config_loader).parse_override(override)
    except HydraException:
        return None


def _grammar_sentence(override: str, fault: Exception) -> str:
    reasons = [
        line
        for line in str(fault).splitlines()
        if not line.startswith(("Error when parsing", "Error parsing", "See http"))
        and not set(line) <= {" ", "^"}
        and line.strip() != override
    ]
    return (
        f"{override} cannot be read: {' '.join(reasons)}; quote a text that has special characters"
    )


def _sentence(override: str, fault: Exception, whole: DictConfig, app: Hydra) -> str:
    key = override.partition("=")[0].lstrip("+~")
    cause = fault.__cause__
    parsed = _parsed(override, app)
    shown = override.removeprefix("++")
    if not key or ("=" not in override and not override.startswith("~")):
        return f"{override}: a setting is written KEY=VALUE"
    if parsed is None:
        return _grammar_sentence(override, fault)
    if isinstance(fault, yaml.YAMLError):
        return f"{override}: {yaml_message(fault)}"
    if parsed is not None and parsed.is_sweep_override():
        return f"{override} is a sweep: add -m; a list is written {key}=[…]"
    if isinstance(fault, MissingConfigException):
        options = app.config_loader.get_group_options(key)
        if options:
            return f"{override}: there is no such option, {key} is one of {', '.join(options)}"
    if isinstance(cause, (ConfigKeyError, ConfigAttributeError)) or "to override" in str(fault):
        return f"{shown}: there is no setting or hyperparameter {key}; {_hint(key, whole, app)}"
    if isinstance(cause, ValidationError):
        return f"{shown}: {str(cause).splitlines()[0]}"
    return f"{shown}: {' '.join(short_message(fault).splitlines())}"


def _hint(key: str, whole: DictConfig, app: Hydra) -> str:
    """What a key that is not there may have been meant to be."""
    parent, _, name = key.rpartition(".")
    group = OmegaConf.select(whole, parent) if parent else None
    if isinstance(group, DictConfig):
        near = difflib.get_close_matches(name, list(map(str, group)), n=1, cutoff=0.4)
        there = ", ".join(f"{parent}.{each}" for each in map(str, group))
        return f"did you mean {parent}.{near[0]}?" if near else f"there are {there}"
    near = difflib.get_close_matches(key, [*app.list_all_config_groups(), *_keys(whole)], n=1)
    return f"did you mean {near[0]}?" if near else f"+{key}=… adds a new one"


def _keys(cfg: DictConfig, prefix: str = "") -> Iterator[str]:
    """Every key of a config, dotted."""
    for key in map(str, cfg):
        yield f"{prefix}{key}"
        if not OmegaConf.is_missing(cfg, key) and not OmegaConf.is_interpolation(cfg, key):
            child = cfg[key]
            if isinstance(child, DictConfig):
                yield from _keys(child, f"{prefix}{key}.")
