"""All faults of a command line at once.

Hydra stops at the first override that it cannot apply. After it has, each override is tried beside
those that are sound, and what these compose to is checked, so that all faults are named together.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    GrammarParseError,
    ValidationError,
)

from explr.config.command_line import parse_arguments, values_of
from explr.config.compose import compose_with, hydra_app
from explr.config.grammar import grammar_fault
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
        singles = {
            override: _singly(override, app, args.multirun, compose) for override in args.overrides
        }
        sound, faulty = _sorted_out(singles, compose)
        try:
            whole = compose(sound)
            faults = [
                sentence
                for override, each in faulty.items()
                for sentence in _sentences(override, each, singles[override], whole, app)
            ]
            check(whole)
        except ConfigError as rest:
            faults += rest.faults
        except UsageError as rest:
            faults.append(str(rest))
        except Exception:  # noqa: BLE001 - each override is fine by itself: `error` says it best
            return error
    return ConfigError(list(dict.fromkeys(faults))) if faults else error


def _sorted_out(
    overrides: Mapping[str, Sequence[str]], compose: Callable[[list[str]], DictConfig]
) -> tuple[list[str], dict[str, dict[str, Exception]]]:
    """Overrides that can be applied together, and what the others raised.

    One may need another that comes later, as `tuner.n_trials` needs `tuner=optuna`.

    Args:
        overrides: what each override is tried as, such as one of the values of its range.
        compose: composes the config.

    Returns:
        Of each override the first text that can be applied, and by override what each of the other
        texts raised.
    """
    sound: dict[str, str] = {}
    waiting = dict(overrides)
    while True:
        faulty: dict[str, dict[str, Exception]] = {}
        for override, texts in waiting.items():
            others = [text for of, text in sound.items() if of != override]
            for text in texts:
                try:
                    compose([*others, text])
                    sound.setdefault(override, text)
                except Exception as fault:  # noqa: BLE001 - whatever it is, it is what to tell
                    faulty.setdefault(override, {})[text] = fault
        left = {override: list(faults) for override, faults in faulty.items()}
        if not left or left == {override: list(texts) for override, texts in waiting.items()}:
            return list(sound.values()), faulty
        waiting = left


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
        parser = OverridesParser.create(config_loader=app.config_loader)
        return parser.parse_overrides([override])[0]
    except HydraException:
        return None


def _sentences(
    override: str,
    faults: Mapping[str, Exception],
    texts: Sequence[str],
    whole: DictConfig,
    app: Hydra,
) -> list[str]:
    """What is wrong with an override: one sentence if all its values have the same fault."""
    sentences = [_sentence(text, fault, whole, app) for text, fault in faults.items()]
    said = {each.removeprefix(text) for each, text in zip(sentences, faults, strict=True)}
    if len(texts) > 1 and len(faults) == len(texts) and len(said) == 1:
        return [override + said.pop()]
    return sentences


def _sentence(override: str, fault: Exception, whole: DictConfig, app: Hydra) -> str:
    key = override.partition("=")[0].lstrip("+~")
    cause = fault.__cause__
    parsed = _parsed(override, app)
    shown = override.removeprefix("++")
    if not key or ("=" not in override and not override.startswith("~")):
        return f"{override}: a setting is written KEY=VALUE"
    if (refused := grammar_fault(override)) is not None:
        return refused
    if isinstance(cause, GrammarParseError) and "${" in override:
        return f"{override} cannot be read at ${{: it begins ${{NAME}}; write \\${{ for the text"
    if "Could not append to config" in str(fault):
        return f"{override}: {key} is there already: leave out the + before {key}"
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
