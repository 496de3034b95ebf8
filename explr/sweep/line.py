"""The overrides of a sweep, and those of each of its trials, as Hydra's own sweeper writes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from explr.config.compose import is_group, options_of
from explr.config.grammar import literal, plain, word
from explr.config.hydra_private import with_value
from explr.config.nodes import is_own_tree
from explr.core.errors import ConfigError
from explr.launching.hydra_job import HydraJob
from explr.tuning.search_space import Scalar, steady_order


class SweepLine:
    """The overrides of a sweep, in order: the ranges of the config, then the command line.

    An override whose key is given again takes the place of the earlier one.

    Args:
        config: composed config of the sweep.
        loader: Hydra's config loader.
        params: parameters that the config has ranges for, as it writes them, such as `+x`.
        arguments: the overrides of the command line.
    """

    def __init__(
        self,
        config: DictConfig,
        loader: ConfigLoader,
        params: Iterable[str],
        arguments: Sequence[str],
    ) -> None:
        self._config = config
        self._loader = loader
        self.ranges: dict[str, str] = {}
        """The ranges of the command line by parameter."""
        self.named: set[str] = set()
        """The parameters and settings that the command line names."""
        self._keys: dict[str, str] = {}
        self._overrides: dict[str, Override | None] = {}
        self._are_groups: dict[str, bool] = {}
        self._examples: dict[str, Override] = {}
        for key in params:
            self._overrides[key] = None
            self.name_of(key)
        parser = OverridesParser.create(config_loader=loader)
        for override in with_named_ranges(parser.parse_overrides(list(arguments)), config):
            self._take(override)

    def name_of(self, key: str) -> str:
        """The name of a parameter that a config may write with a sign, such as `+x`."""
        name = key.lstrip("+~")
        self._keys.setdefault(name, key)
        return name

    def written(self, name: str, value: Any) -> str:
        """The override that gives a parameter a value."""
        return f"{self._keys.get(name, name)}={word(value)}"

    @property
    def fixed(self) -> list[str]:
        """The overrides that are no ranges."""
        given = self._overrides.values()
        return [str(each.input_line) for each in given if each and not each.is_sweep_override()]

    def is_group(self, name: str) -> bool:
        """Whether a parameter is a config group, possibly with a package."""
        group = name.partition("@")[0]
        if group not in self._are_groups:
            self._are_groups[group] = is_group(group, self._config, self._loader)
        return self._are_groups[group]

    def options(self, name: str) -> str:
        """The options of a config group, as a text."""
        group = name.partition("@")[0]
        return ", ".join(options_of(group, self._config, self._loader))

    def job(self, number: int, params: Mapping[str, Any], settings: Mapping[str, Any]) -> HydraJob:
        """The job of a trial.

        Its values stand where the ranges stand. Those that no override names come first, because
        they have ranges of the config.

        Args:
            number: number of the job.
            params: values by parameter.
            settings: values that explr sets for this job alone, by dotted key.
        """
        rest = dict(params)
        line: list[tuple[Override, bool]] = []
        for key, override in self._overrides.items():
            name = key.lstrip("+~")
            if name in rest and self._keys[name] == key:
                line.append((self._with_value(key, rest.pop(name)), True))
            elif override is not None and not override.is_sweep_override():
                line.append((override, False))
        first = [(self._with_value(self._keys.get(name, name), rest[name]), True) for name in rest]
        own = [(self._with_value(f"++{key}", settings[key]), True) for key in settings]
        return self._job(number, [*first, *line, *own])

    def _job(self, number: int, line: Sequence[tuple[Override, bool]]) -> HydraJob:
        """A job of overrides, with those apart that the jobs of a sweep do not have in common.

        Hydra applies options of groups first, wherever they stand, and everything else in order.
        """
        overrides = [str(override.input_line) for override, _ in line]
        common: list[str] = []
        changes: list[Override] = []
        for override, varies in line:
            if self._chooses(override):
                common.append(str(override.input_line))
            elif override.is_delete() and (varies or changes):  # of an option, or of a value
                return HydraJob(number, overrides)
            elif varies or changes:
                changes.append(override)
            else:
                common.append(str(override.input_line))
        return HydraJob(number, overrides, tuple(common), changes)

    def _chooses(self, override: Override) -> bool:
        """Whether an override chooses options of a config group; else it changes a value."""
        return self.is_group(override.key_or_group) and not isinstance(override.value(), dict)

    def _with_value(self, key: str, value: Any) -> Override:
        text = f"{key}={word(value)}"
        if not isinstance(value, Scalar):
            return OverridesParser.create().parse_override(text)
        if key not in self._examples:  # to parse takes half a millisecond
            self._examples[key] = OverridesParser.create().parse_override(f"{key}=0")
        return with_value(self._examples[key], value, text)

    def _take(self, override: Override) -> None:
        """Take in an override of the command line."""
        key = override.get_key_element()
        name = key.lstrip("+~")
        self.named.add(name)
        swept = override.is_sweep_override()
        if override.is_delete() and not swept and self._keys.get(name) != key:  # as ~x after x=1,2
            self._overrides[key] = override
            return
        if name in self.ranges and self._keys[name] != key:  # as x=3 after +x=1,2
            key = self._keys[name]
            text = f"{key}={override.get_value_string()}"
            override = OverridesParser.create(self._loader).parse_override(text)
        self._keys[name] = key
        self.ranges.pop(name, None)
        if swept:
            self.ranges[name] = self._range(override)
        override.config_loader = None  # it travels to the processes of the jobs
        self._overrides[key] = override

    def _range(self, override: Override) -> str:
        """The text of a range; that of `glob(…)` becomes a choice of the options it stands for.

        Raises:
            ConfigError: it stands for none.
        """
        if not isinstance(override.value(), Glob):
            return override.get_value_string()
        options = list(override.sweep_iterator())
        if not options:
            group = override.key_or_group
            there = self.options(group)
            hint = f"{group} is one of {there}" if there else f"{group} is no config group"
            raise ConfigError([f"{override.input_line}: there is no such option, {hint}"])
        return f"choice({','.join(map(word, options))})"


def with_drawn_orders(
    arguments: Sequence[str], config: DictConfig, loader: ConfigLoader
) -> list[str]:
    """Overrides with the list in place of `shuffle([…])`, which draws an order when it is read.

    The order depends only on the text, so that all trials have the same one, and a resumed sweep.

    Args:
        arguments: the overrides of a sweep.
        config: composed config of the sweep, in which the lists are put.
        loader: Hydra's config loader.
    """
    return [_with_drawn_order(line, config, loader) for line in arguments]


def _with_drawn_order(line: str, config: DictConfig, loader: ConfigLoader) -> str:
    if "shuffle(" not in line:
        return line
    with steady_order(line):
        override = OverridesParser.create(config_loader=loader).parse_override(line)
    if override.is_sweep_override():
        return line
    name = override.key_or_group
    value = plain(override.value())
    if not is_group(name, config, loader):
        with read_write(config), open_dict(config):
            OmegaConf.update(config, name, value, merge=False)
    return f"{override.get_key_element()}={literal(value)}"


HOLD_RANGES = ("hydra.", "search_space.")
"""How the names of settings begin that may hold a range as a text; only the first in any app."""


def with_named_ranges(overrides: Iterable[Override], config: DictConfig) -> list[Override]:
    """Overrides in which `lr=${base}` is the range that `base` holds.

    If `base` is searched itself or holds anything else, the override stays as it is: each trial
    resolves it. So it does where ranges are expected as texts.

    Args:
        overrides: the overrides of a sweep.
        config: composed config of the sweep.
    """
    return [_named_range(override, config) or override for override in overrides]


def _named_range(override: Override, config: DictConfig) -> Override | None:
    line = str(override.input_line)
    if override.is_sweep_override() or "${" not in line:
        return None
    raw = line.partition("=")[0]
    name = raw.lstrip("+~")
    if name.startswith(HOLD_RANGES if is_own_tree(config) else HOLD_RANGES[:1]):
        return None
    try:
        text = OmegaConf.select(config, name.partition("@")[0])
        named = OverridesParser.create(override.config_loader).parse_override(f"{raw}={text}")
    except (OmegaConfBaseException, HydraException, ValueError):
        return None  # the config of each trial says what is wrong, if anything is
    found = named.value()
    # A list such as a,b may be a text too.
    is_list = isinstance(found, ChoiceSweep) and found.simple_form
    is_range = named.is_sweep_override() and not is_list and not isinstance(found, Glob)
    return named if isinstance(text, str) and is_range else None
