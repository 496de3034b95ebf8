"""Defaults of hyperparameters: which of them nobody chose, and which values do not fit them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    RangeSweep,
)
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from explr.config.command_line import values_of
from explr.config.compose import is_group
from explr.config.grammar import plain, word
from explr.config.settings_file import FILE_OVERLAY, file_overlay
from explr.core.config import ROOT_KEYS


def untouched_defaults(values: Mapping[str, Any], overrides: Iterable[str]) -> frozenset[str]:
    """Hyperparameters of the bundled examples that nobody chose or changed.

    Args:
        values: the hyperparameters of a config.
        overrides: what it was composed of; those that chose a search space chose all it has.
    """
    named = {_first_key(text) for text in overrides}
    if "search_space" in named:
        return frozenset()
    return frozenset(
        name
        for name, value in bundled_defaults().items()
        if name in values and name not in named and values[name] == value
    )


def _first_key(override: str) -> str:
    """The part of an override's key that stands at the root of the config."""
    return re.split(r"[=./@]", override.lstrip("+~"))[0]


@cache
def bundled_defaults() -> Mapping[str, Any]:
    """The hyperparameters of explr's examples, by name."""
    text = files("explr.conf").joinpath("search_space", "default.yaml").read_text(encoding="utf-8")
    content = OmegaConf.to_container(OmegaConf.create(text))
    assert isinstance(content, dict)
    return {str(name): value for name, value in content.items()}


KINDS: tuple[tuple[str, tuple[type, ...]], ...] = (
    ("true or false", (bool,)),
    ("a number", (int, float)),
    ("a list", (list,)),
    ("a mapping", (dict,)),
)
"""What a hyperparameter may be by its default."""

TEXT = "a text"
"""Any other; in place of a text may stand a number, as 0.1 in place of `scale`."""

RANGES = (ChoiceSweep, IntervalSweep, RangeSweep)
"""What Hydra makes of a range."""


def type_faults(
    texts: Iterable[str],
    compose: Callable[[list[str]], DictConfig],
    loader: ConfigLoader,
    sweep: DictConfig | None = None,
) -> list[str]:
    """Hyperparameters whose values are of another kind than their defaults.

    `++lr=…` sets any value. An app's own schema is Hydra's to check.

    Args:
        texts: the overrides of a job or a sweep, which can be composed.
        compose: composes the config of a job.
        loader: Hydra's config loader.
        sweep: composed config of the sweep, in which ranges set nothing; where nothing else is set
            it has the defaults, and none has to be composed.
    """
    texts = list(texts)
    if not may_be_mistyped(texts):
        return []
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(texts)
    changed = [each for each in parsed if _changes_hyperparameter(each)]
    others = [each for each in parsed if not _changes_hyperparameter(each, forced=True)]
    line = [text for each in others for text in values_of(each)]
    swept = [each for each in parsed if each.is_sweep_override()]
    if sweep is not None and FILE_OVERLAY not in line and swept == changed:
        base = sweep
    else:
        base = compose([text for text in line if text != FILE_OVERLAY])
    defaults, faults = {}, []
    for key, value in _leaves(file_overlay() if FILE_OVERLAY in line else {}):
        if said := _mistyped(key, value, _default(key, base)):
            faults.append(f"{key} in the file of settings: {said}")
        defaults[key] = value
    for each in changed:
        key = each.key_or_group
        default = defaults[key] if key in defaults else _default(key, base)
        said = next(filter(None, (_mistyped(key, v, default) for v in _values(each))), None)
        if said is not None and not is_group(key, base, loader):
            faults.append(f"{each.input_line}: {said}; ++{key}=… sets it all the same")
    return faults


def _leaves(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The hyperparameters of a file, by dotted key."""
    for key, value in settings.items():
        if not prefix and key in ROOT_KEYS:
            continue
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _default(key: str, base: DictConfig) -> Any:
    """The default of a hyperparameter; None if it has none, or only a training can tell it."""
    try:
        value = OmegaConf.select(base, key, throw_on_missing=False)
    except OmegaConfBaseException:
        return None
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def may_be_mistyped(texts: Sequence[str]) -> bool:
    """Whether hyperparameters are set to anything but a number, or by a file.

    A number is nearly always right, and to compose the defaults takes a tenth of a second.

    Args:
        texts: the overrides.
    """
    # Hydra's parser takes milliseconds for its first line.
    candidates = [text for text in texts if _first_key(text) not in ROOT_KEYS]
    if not candidates:
        return False
    try:
        parsed = OverridesParser.create().parse_overrides(candidates)
    except HydraException:  # told when they are composed
        return False
    values = [each.value() for each in parsed if _changes_hyperparameter(each)]
    return FILE_OVERLAY in texts or not all(
        value is None or type(value) in (int, float) for value in values
    )


def _changes_hyperparameter(override: Override, forced: bool = False) -> bool:
    """Whether an override gives a hyperparameter another value.

    Args:
        override: the override.
        forced: whether `++` does so.
    """
    key = override.key_or_group
    return (
        not (override.is_add() or override.is_delete())
        and (forced or not override.is_force_add())
        and override.package is None
        and "/" not in key
        and key.partition(".")[0] not in ROOT_KEYS
    )


def _values(override: Override) -> list[Any]:
    """Values of an override, of a range of numbers one."""
    value = override.value()
    if isinstance(value, ChoiceSweep):
        return [plain(each) for each in value.list if not isinstance(each, RANGES)]
    if isinstance(value, (IntervalSweep, RangeSweep)):
        return [value.start]
    return [] if override.is_sweep_override() else [plain(value)]


def _mistyped(key: str, value: Any, default: Any) -> str | None:
    """What is wrong with the kind of a value; None if nothing is."""
    if value is None or default is None or (isinstance(value, str) and "${" in value):
        return None
    kind = _kind(default)
    if kind == _kind(value) or (kind == TEXT and not isinstance(value, (list, dict))):
        return None
    if isinstance(default, bool) and value in (0, 1):
        return None
    shown = "" if isinstance(default, (list, dict)) else f" ({default})"
    return f"{key} is {kind} by default{shown}, and not {word(value)}"


def _kind(value: Any) -> str:
    return next((kind for kind, types in KINDS if isinstance(value, types)), TEXT)
