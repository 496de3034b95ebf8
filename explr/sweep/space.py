"""The ranges of a sweep, including those of the chosen options of config groups."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from explr.config.grammar import literal, plain, word
from explr.core.errors import ConfigError
from explr.launching.hydra_job import HydraJob
from explr.tuning.search_space import Scalar, SearchSpace, as_range, parse, steady_order


class SweepSpace:
    """The search space of a sweep; turns sampled trials into Hydra jobs.

    Args:
        config: composed config of the sweep.
        loader: Hydra's config loader.
        params: ranges of the config, in Hydra's sweep grammar by parameter.
        arguments: the overrides of the command line; they override `params`.

    Raises:
        ConfigError: naming every range that cannot be read.
    """

    def __init__(
        self,
        config: DictConfig,
        loader: ConfigLoader,
        params: Mapping[str, Any],
        arguments: Sequence[str],
    ) -> None:
        self._config = config
        self._loader = loader
        self._composed: dict[tuple[tuple[str, str], ...], SearchSpace] = {}
        self._prefix: dict[str, str] = {}
        given: dict[str, str] = {}
        fixed: list[tuple[str, str]] = []
        self._named: set[str] = set()
        parser = OverridesParser.create(config_loader=loader)
        for override in with_named_ranges(parser.parse_overrides(list(arguments)), config):
            line = str(override.input_line)
            raw, _, text = line.partition("=")
            name = raw.lstrip("+~")
            self._named.add(name)
            self._prefix.setdefault(name, raw[: len(raw) - len(name)])
            if override.is_sweep_override():  # of a name that is given twice, the last one counts
                given[name] = _options_text(override, text)
                fixed = [each for each in fixed if each[0] != name]
            else:
                given.pop(name, None)
                fixed.append((name, line))
        self.fixed = [line for _, line in fixed]
        """The overrides that are no ranges."""
        self._given = ranges_of(given)
        self._groups = {
            name: name.partition("@")[0]
            for name in self._given.distributions
            if loader.get_group_options(name.partition("@")[0])
        }
        self.base = self._ranges_of(params) | self._given
        if self._groups:
            self._check_names()
            self.base = self._always() | self._given
            self._check_options()

    @property
    def every(self) -> SearchSpace:
        """All ranges that may become active."""
        space = self.base
        for one in self._spaces():
            space |= one.without(list(space.distributions))
        return space

    @property
    def branches(self) -> list[SearchSpace]:
        """The ranges that are active together, for each combination of options of swept groups."""
        from optuna.distributions import CategoricalDistribution

        branches = []
        for codes in product(*map(self._options, self._groups)):
            chosen = dict(zip(self._groups, codes, strict=True))
            single = {name: CategoricalDistribution([code]) for name, code in chosen.items()}
            values = {name: self._given.value(name, code) for name, code in chosen.items()}
            branches.append(self.active(values) | self.base | SearchSpace({**single}))
        return branches

    def value(self, name: str, sampled: Any) -> Any:
        """The value in the config for a sampled value of a parameter."""
        return self.every.value(name, sampled)

    def active(self, values: Mapping[str, Any]) -> SearchSpace:
        """The ranges that are active once the given parameters are chosen.

        A swept config group adds the `search_space` of the chosen option.
        """
        chosen = tuple(
            (name, self._text(name, values[name])) for name in self._groups if name in values
        )
        return self._composed_space(chosen) | self._given if chosen else self.base

    def allowing(self, values: Mapping[str, Any]) -> SearchSpace:
        """The ranges of a known configuration: those of its options before those of others."""
        chosen = {
            name: values[name]
            for name in self._groups
            if name in values and self._given.encode(name, values[name]) in self._options(name)
        }
        return self.every | self.active(chosen)

    def job(self, number: int, params: Mapping[str, Any], settings: Mapping[str, Any]) -> HydraJob:
        """The job of a trial.

        Args:
            number: number of the job.
            params: sampled values by parameter.
            settings: values that explr sets for this job alone, by dotted key.
        """
        overrides = [
            f"{self._prefix.get(name, '')}{name}={self._text(name, value)}"
            for name, value in params.items()
        ]
        overrides += self.fixed
        overrides += [f"++{key}={literal(value)}" for key, value in settings.items()]
        if self.chooses(params):
            return HydraJob(number, overrides)
        return HydraJob(number, overrides, {**params, **settings})

    def chooses(self, params: Mapping[str, Any]) -> bool:
        """Whether a trial with these values chooses options of config groups."""
        return any(name in params for name in self._groups)

    def compose(self, job: HydraJob) -> DictConfig:
        """The config of a job, composed anew."""
        return self._loader.load_sweep_config(self._config, job.overrides)

    def _text(self, name: str, value: Any) -> str:
        return value if name in self._groups and isinstance(value, str) else literal(value)

    def _options(self, group: str) -> Sequence[Any]:
        """What may be chosen of a swept group, as Optuna stores it."""
        options: Sequence[Any] = self._given.distributions[group].choices  # type: ignore[attr-defined]
        return options

    def _ranges_of(self, params: Mapping[str, Any]) -> SearchSpace:
        """The ranges of a config, without the parameters that the command line sets."""
        return ranges_of({k: v for k, v in texts_of(params).items() if k not in self._named})

    def _composed_space(self, chosen: tuple[tuple[str, str], ...]) -> SearchSpace:
        """The ranges of the config with some options chosen."""
        if chosen not in self._composed:
            overrides = [f"{self._prefix[name]}{name}={text}" for name, text in chosen]
            try:
                config = self._loader.load_sweep_config(self._config, [*self.fixed, *overrides])
            except MissingConfigException:
                raise ConfigError([self._unknown(name, text) for name, text in chosen]) from None
            node = config.get("search_space") or OmegaConf.create({})
            ranges = OmegaConf.to_container(node, resolve=True)
            assert isinstance(ranges, dict)
            self._composed[chosen] = self._ranges_of({str(k): v for k, v in ranges.items()})
        return self._composed[chosen]

    def _unknown(self, name: str, text: str) -> str:
        """What is wrong with an option of a swept group that does not exist."""
        there = ", ".join(self._loader.get_group_options(self._groups[name]))
        return (
            f"{self._prefix[name]}{name}={text}: there is no such option, {name} is one of {there}"
        )

    def _check_names(self) -> None:
        """Check that the options of swept groups are names, or lists of names."""
        faults = [
            self._unknown(name, literal(option))
            for name in self._groups
            for option in (self._given.value(name, code) for code in self._options(name))
            if not isinstance(option, str | list)
        ]
        if faults:
            raise ConfigError(faults)

    def _always(self) -> SearchSpace:
        """The ranges of all options of the swept groups."""
        spaces = self._spaces()
        first = spaces[0]
        common = [n for n in first.distributions if all(s.agrees_on(n, first) for s in spaces)]
        return first.without([name for name in first.distributions if name not in common])

    def _check_options(self) -> None:
        """Check that Optuna can store the ranges of two options with the same name."""
        from optuna.distributions import check_distribution_compatibility

        faults: dict[str, str] = {}
        for space in self._spaces():
            for name, distribution in space.distributions.items():
                try:
                    check_distribution_compatibility(self.every.distributions[name], distribution)
                except ValueError:
                    faults[name] = (
                        f"two options bring different kinds of range or different choices for "
                        f"{name}: give them two names"
                    )
        if faults:
            raise ConfigError(list(faults.values()))

    def _spaces(self) -> list[SearchSpace]:
        """The ranges of each option of the swept groups."""
        return [
            self.active({name: self._given.value(name, option)})
            for name in self._groups
            for option in self._options(name)
        ]


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
    name = override.key_or_group
    if override.is_sweep_override() or loader.get_group_options(name):
        return line
    value = plain(override.value())
    with read_write(config), open_dict(config):
        OmegaConf.update(config, name, value, merge=False)
    return f"{line.partition('=')[0]}={literal(value)}"


HOLD_RANGES = ("search_space.", "hydra.")
"""How the names of settings begin that may hold a range as a text."""


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
    if name.startswith(HOLD_RANGES):
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


def texts_of(params: Mapping[Any, Any]) -> dict[str, Any]:
    """The ranges of a resolved config, by dotted key.

    What is left of `${` in them was escaped, and is again.
    """
    texts: dict[str, Any] = {}
    for name, value in params.items():
        if isinstance(value, Mapping) and value and not as_range(value):
            texts |= {f"{name}.{key}": text for key, text in texts_of(value).items()}
        elif isinstance(value, str):
            texts[str(name)] = re.sub(r"(\\*)\$\{", r"\1\1\${", value)
        else:
            texts[str(name)] = value
    return texts


def _options_text(override: Override, text: str) -> str:
    """The text of a range; that of `glob(…)` becomes a choice of the options it stands for.

    Raises:
        ConfigError: it stands for none.
    """
    if not isinstance(override.value(), Glob):
        return text
    options = list(override.sweep_iterator())
    if not options:
        assert override.config_loader is not None
        group = override.key_or_group
        there = ", ".join(override.config_loader.get_group_options(group))
        hint = f"{group} is one of {there}" if there else f"{group} is no config group"
        raise ConfigError([f"{override.input_line}: there is no such option, {hint}"])
    return f"choice({','.join(map(word, options))})"


def ranges_of(texts: Mapping[str, Any]) -> SearchSpace:
    """Parse texts that must all be ranges.

    Raises:
        ConfigError: naming every text that cannot be read or is no range.
    """
    space, fixed = parse(texts)
    if fixed:
        raise ConfigError([_no_range(name, value) for name, value in fixed.items()])
    return space


def _no_range(name: str, value: Any) -> str:
    write = as_range(value)
    if write is None:
        write = f"a fixed value outside of the search space, as in {name}={word(value)}"
    return f"{name} is no range that can be searched: {value!r}; write {write}"


def fixed_of(texts: Mapping[str, Any]) -> dict[str, Any]:
    """The fixed values among ranges.

    Raises:
        ConfigError: naming every text that cannot be read, and what may be meant as a range.
    """
    fixed = parse(texts)[1]
    if faults := [_no_range(k, v) for k, v in fixed.items() if not isinstance(v, Scalar)]:
        raise ConfigError(faults)
    return fixed


def with_fixed_params(
    params: Mapping[str, Any], line: Sequence[str], config: DictConfig, loader: ConfigLoader
) -> tuple[dict[str, Any], list[str]]:
    """Take fixed values out of the params of a sweep, as Hydra's own sweepers take them.

    An option of a config group becomes a choice of one, because each trial has to compose it.

    Args:
        params: ranges and values, in Hydra's grammar by parameter.
        line: the overrides of the sweep, which override them.
        config: composed config of the sweep, in which the values are put.
        loader: Hydra's config loader.

    Returns:
        The ranges, and the overrides with those of the fixed values before them.

    Raises:
        ConfigError: naming every text that cannot be read, and what may be meant as a range.
    """
    named = {text.lstrip("+~").partition("=")[0] for text in line}
    ranges = {name: text for name, text in texts_of(params).items() if name not in named}
    fixed = []
    for name, value in fixed_of(ranges).items():
        del ranges[name]
        if loader.get_group_options(name.partition("@")[0]):
            fixed.append(f"{name}=choice({word(value)})")
            continue
        fixed.append(f"{name}={literal(value)}")
        with read_write(config), open_dict(config):
            OmegaConf.update(config, name, value, merge=False)
    return ranges, [*fixed, *line]
