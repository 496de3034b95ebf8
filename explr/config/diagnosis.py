"""All faults of a command line at once.

Hydra stops at the first override that it cannot apply. After it has, each override is tried beside
those that are sound, and what these compose to is checked, so that all faults are named together.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from typing import Any

import yaml
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    GrammarParseError,
    OmegaConfBaseException,
    ValidationError,
)

from explr.config.advice import SEARCH, WITH_TUNER, key_hint, option_hint, word_hint
from explr.config.command_line import parse_arguments, sweeps_trials, values_of
from explr.config.compose import FIRST_JOB, compose_with, hydra_app, hydra_config, options_of
from explr.config.defaults import type_faults
from explr.config.grammar import grammar_fault
from explr.config.hydra_private import Hydra
from explr.config.hydra_versions import needs_hydra_14
from explr.config.messages import short_message, yaml_message
from explr.config.settings_file import FILE_OVERLAY, as_overrides, file_overlay
from explr.core.config import ExplrConfig
from explr.core.errors import ConfigError, ExplrError, UsageError
from explr.core.user_code import user_traceback

log = logging.getLogger("explr")

TYPED = frozenset(each.name for each in fields(ExplrConfig)) - {"search_space", "train_model"}
"""Keys of the root whose content explr defines."""

WITH_A_TUNER = re.compile(rf"tuner/\w+|tuner\.({'|'.join(SEARCH)})")
"""Groups and settings that only a tuner has."""

MOST_VALUES = 20
"""How many values of one swept key are tried."""


def diagnose(
    error: Exception,
    arguments: Sequence[str],
    check: Callable[[DictConfig], Any],
    to_sweep: str = "add -m",
) -> Exception:
    """Turn a complaint about a command line into one that names every fault.

    Args:
        error: what was raised.
        arguments: the command line.
        check: checks what the sound overrides compose to.
        to_sweep: what to do about a range where there is no sweep.

    Returns:
        A `ConfigError` if composing the overrides one by one raises `error` again, else `error`.
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
    sweeps = sweeps_trials(args)
    fixed = FIRST_JOB if sweeps else ()
    with hydra_app(args.config_dir) as app:

        def compose(overrides: Iterable[str]) -> DictConfig:
            return compose_with(app, [*overrides, *fixed], args.config_name, multirun=False)

        return each_named(
            error, args.overrides, compose, app.config_loader, check, sweeps, to_sweep
        )


def each_named(
    error: Exception,
    overrides: Sequence[str],
    compose: Callable[[Iterable[str]], DictConfig],
    loader: ConfigLoader,
    check: Callable[[DictConfig], Any],
    sweeps: bool = True,
    to_sweep: str = "",
) -> Exception:
    """Turn a complaint about overrides into one that names every fault.

    Args:
        error: what composing them has raised.
        overrides: the overrides, with the ranges of a sweep.
        compose: composes the config of a job.
        loader: Hydra's config loader.
        check: checks what the sound overrides compose to.
        sweeps: whether ranges may be among them.
        to_sweep: what to do about a range where there is no sweep.

    Returns:
        A `ConfigError` if composing the overrides one by one raises `error` again, else `error`.
    """
    compose = _once(compose)
    raised: list[Exception] = []
    named = [
        (override, item)
        for override in overrides
        for item in _items(override, loader, sweeps, compose, raised)
    ]
    (sound, *others), faulty = _sorted_out([item for _, item in named], compose)
    if not any(_is_same(error, fault) for fault in [*raised, *faulty.values()]):
        return error  # it came from elsewhere
    try:
        whole = compose(sound)
    except Exception:  # noqa: BLE001 - the config tree itself is at fault, not the overrides
        return error
    faults: list[str] = []
    for place, (override, item) in enumerate(named):
        said = {
            text: _sentence(
                text, fault, whole, loader, lambda added: compose([*sound, added]), to_sweep
            )
            for (of, text), fault in faulty.items()
            if of == place
        }
        faults += _joined(override, item, said)
    faults += type_faults(
        list(dict.fromkeys(text for job in [sound, *others] for text in job)), compose, loader
    )
    for job in [sound, *others]:
        try:
            with hydra_config(config := compose(job)):
                check(config)
        except ConfigError as rest:
            faults += rest.faults
        except UsageError as rest:
            faults.append(str(rest))
        except Exception:  # raised again once these faults are mended
            log.debug("%s cannot be checked", job, exc_info=True)
    return ConfigError(list(dict.fromkeys(faults))) if faults else error


def compose_one(app: Hydra, overrides: Iterable[str], config_name: str | None = None) -> DictConfig:
    """Compose the config of a job."""
    return compose_with(app, [*overrides, *FIRST_JOB], config_name, multirun=False)


def check_types(app: Hydra, overrides: Sequence[str], config_name: str | None = None) -> None:
    """Check that the values of hyperparameters are of the kind of their defaults.

    Args:
        app: Hydra, as `hydra_app` made it ready.
        overrides: the overrides of one training.
        config_name: name of the primary config; None takes explr's own.

    Raises:
        ConfigError: naming each that is not.
        HydraException, OmegaConfBaseException: an override cannot be applied.
    """
    compose = partial(compose_one, app, config_name=config_name)
    if faults := type_faults(overrides, compose, app.config_loader):
        raise ConfigError(faults)


def raise_with(faults: Sequence[str], check: Callable[[], Any]) -> None:
    """Check further, and raise what was found before together with what is found now.

    Args:
        faults: what was found before.
        check: raises what it finds.

    Raises:
        ConfigError: there are faults.
        UsageError: the check has found one, and nothing was found before.
    """
    try:
        check()
    except UsageError as rest:
        if not faults:
            raise
        raise ConfigError([*faults, *getattr(rest, "faults", [str(rest)])]) from None
    if faults:
        raise ConfigError(list(faults))


def _once(
    compose: Callable[[Iterable[str]], DictConfig],
) -> Callable[[Iterable[str]], DictConfig]:
    """Compose the same overrides once: to compose takes a tenth of a second and more."""
    known: dict[tuple[str, ...], DictConfig | Exception] = {}

    def composed(overrides: Iterable[str]) -> DictConfig:
        texts = tuple(overrides)
        if texts not in known:
            try:
                known[texts] = compose(texts)
            except Exception as error:  # noqa: BLE001 - raised below, as often as it is asked for
                known[texts] = error
        if isinstance(found := known[texts], Exception):
            raise found
        return found

    return composed


def _joined(override: str, item: Sequence[str], said: Mapping[str, str]) -> list[str]:
    """What is wrong with an override: one sentence if all its values have the same fault."""
    ends = {sentence.removeprefix(text) for text, sentence in said.items()}
    if len(item) > 1 and len(said) == len(item) and len(ends) == 1:
        return [override + ends.pop()]
    return list(said.values())


@contextmanager
def diagnosing(arguments: Sequence[str], check: Callable[[DictConfig], Any]) -> Iterator[None]:
    """Diagnose what the block raises in a program that called explr; see `diagnose`."""
    try:
        yield
    except Exception as error:
        named = diagnose(error, arguments, check, to_sweep="give it to explr.tune")
        if named is error:
            raise
        raise named from None


def _is_same(error: Exception, fault: Exception) -> bool:
    """Whether composing has raised an error again.

    The lines after the first name the search path, which differs from one app to another.
    """
    if isinstance(error.__cause__, GrammarParseError):  # of an interpolation
        return isinstance(fault.__cause__, GrammarParseError)
    if isinstance(error, OverrideParseException) and isinstance(fault, OverrideParseException):
        return bool(error.override == fault.override)
    first, again = (str(one).partition("\n")[0] for one in (error, fault))
    return type(error) is type(fault) and first == again


def _sorted_out(
    items: Sequence[Sequence[str]], compose: Callable[[Iterable[str]], DictConfig]
) -> tuple[list[list[str]], dict[tuple[int, str], Exception]]:
    """Sort out the overrides that can be applied together.

    One may need another that comes later, as `tuner.n_trials` needs `tuner=optuna`.

    Args:
        items: overrides; of several in one item, a job has only one.
        compose: composes a config.

    Returns:
        The sound overrides of several jobs, so that each sound override is in one of them; and
        what each other one raised, by the place of its item and its text.
    """
    first: dict[int, str] = {}
    others: list[tuple[int, str]] = []
    waiting = [(place, text) for place, item in enumerate(items) for text in item]
    while True:
        faulty: dict[tuple[int, str], Exception] = {}
        for place, text in waiting:
            try:
                compose(_in_order(first | {place: text}))
            except Exception as fault:  # noqa: BLE001 - whatever it is, it is what to tell
                faulty[place, text] = fault
            else:
                if first.setdefault(place, text) != text:
                    others.append((place, text))
        if not faulty or len(faulty) == len(waiting):
            jobs = [first, *(first | {place: text} for place, text in others)]
            return [_in_order(job) for job in jobs], faulty
        waiting = list(faulty)


def _in_order(job: dict[int, str]) -> list[str]:
    """The overrides of a job, by their place on the command line."""
    return [text for _, text in sorted(job.items())]


def _items(
    override: str,
    loader: ConfigLoader,
    sweeps: bool,
    compose: Callable[[Iterable[str]], DictConfig],
    raised: list[Exception],
) -> list[list[str]]:
    """An override as it is tried: one item, or one for each leaf of a faulty file.

    An item has one override, or one for each value of a range. What a faulty file raises as a whole
    is added to `raised`.
    """
    parsed = _parsed(override, loader)
    if override == FILE_OVERLAY:
        try:
            compose([override])
        except Exception as fault:  # noqa: BLE001 - which leaf it is comes out leaf by leaf
            raised.append(fault)
            leaves = list(as_overrides(file_overlay()))
            # A key that an override cannot spell is not one of explr.
            return [[leaf] for leaf in leaves if _parsed(leaf, loader) is not None]
    if parsed is None or not sweeps or not parsed.is_sweep_override():
        return [[override]]
    return [values_of(parsed, MOST_VALUES)]


def _parsed(override: str, loader: ConfigLoader) -> Override | None:
    try:
        parser = OverridesParser.create(config_loader=loader)
        return parser.parse_overrides([override])[0]
    except HydraException:
        return None


def _sentence(
    override: str,
    fault: Exception,
    whole: DictConfig,
    loader: ConfigLoader,
    compose_also: Callable[[str], DictConfig],
    to_sweep: str,
) -> str:
    """What is wrong with an override: what Hydra says, in fewer words where the case is certain."""
    name, equals, _ = override.partition("=")
    cause = fault.__cause__
    parsed = _parsed(override, loader)
    shown = override.removeprefix("++")
    if not name.lstrip("+~") or not (equals or name.startswith("~")):
        return f"{override}: {word_hint(override)}"
    if parsed is None:
        return grammar_fault(override) or f"{override}: {short_message(fault)}"
    if isinstance(cause, GrammarParseError):
        where = "" if "${" in override else f" in {cause.full_key}"
        hint = "it begins ${NAME}; write \\${ for the text"
        return f"{override} cannot be read at ${{{where}: {hint}"
    if "Could not append to config" in str(fault):
        key = parsed.key_or_group
        return f"{override}: {key} is there already: leave out the + before {key}"
    if isinstance(fault, yaml.YAMLError):
        return f"{override}: {yaml_message(fault)}"
    if parsed.is_sweep_override() and not parsed.is_discrete_sweep():
        on_a_line = to_sweep.endswith("-m")
        alone = OmegaConf.select(whole, "tuner.name") == "none"
        return f"{override} is a range: {WITH_TUNER if alone and on_a_line else to_sweep}"
    if parsed.is_sweep_override():
        a_list = f"{parsed.get_key_element()}=[…]"
        return f"{override} is a sweep: {to_sweep}; a list is written {a_list}"
    if hint := option_hint(parsed, whole, loader):
        return f"{shown}{hint}"
    if "Config group override must be" in str(fault):
        group = parsed.key_or_group
        return f"{shown}: {group} is one of {', '.join(options_of(group, whole, loader))}"
    if WITH_A_TUNER.fullmatch(parsed.key_or_group) and whole.tuner.name == "none":
        return f"{override} is for a sweep: {WITH_TUNER}"
    if isinstance(fault, MissingConfigException):
        group, value = parsed.key_or_group, parsed.value()
        chosen = [str(one) for one in (value if isinstance(value, list) else [value])]
        # Otherwise an option that is there names another one that is not.
        if fault.missing_cfg_file in [f"{group}/{one}" for one in chosen]:
            options = ", ".join(options_of(group, whole, loader))
            said = f"{override}: there is no such option, {group} is one of {options}"
            return said + needs_hydra_14(group, chosen)
    if isinstance(cause, (ConfigKeyError, ConfigAttributeError)):
        key = parsed.key_or_group
        if f"{key}.".startswith(f"{cause.full_key}."):  # otherwise a chosen option brings the key
            hint = key_hint(key, parsed, whole, loader) or _addition(override, compose_also)
            return f"{shown}: there is no setting or hyperparameter {key}{hint}"
    if isinstance(cause, ValidationError):
        where = "" if cause.full_key == parsed.key_or_group else f"{cause.full_key}: "
        return f"{shown}: {where}{str(cause).splitlines()[0]}"
    return f"{shown}: {' '.join(short_message(fault).splitlines())}"


def _addition(override: str, compose_also: Callable[[str], DictConfig]) -> str:
    """How the key of an override can be added; empty if it cannot."""
    added = f"+{override.lstrip('+')}"
    if override.lstrip("+").partition(".")[0] in TYPED:
        return ""
    try:
        compose_also(added)
    except (HydraException, OmegaConfBaseException):
        return ""
    return f"; {added.partition('=')[0]}=… adds a new one"
