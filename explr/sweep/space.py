"""The ranges of a sweep, including those of the chosen options of config groups."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import product
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.errors import MissingConfigException
from omegaconf import DictConfig, OmegaConf

from explr.config.grammar import word
from explr.config.nodes import SWEEPER_NODE
from explr.core.errors import ConfigError
from explr.launching.hydra_job import HydraJob
from explr.sweep.line import SweepLine
from explr.tuning.search_space import Scalar, SearchSpace, as_range, parse


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
        self._params = params
        self._composed: dict[tuple[str, ...], SearchSpace] = {}
        self._line = SweepLine(config, loader, params, arguments)
        given = ranges_of(self._line.ranges)
        ranges = self._ranges_of(params) | given
        self._groups = [name for name in ranges.distributions if self._line.is_group(name)]
        always = {*given.distributions, *self._groups}
        self._given = ranges.without([name for name in ranges.distributions if name not in always])
        self.base = ranges
        """The ranges that are active whatever is chosen of swept groups."""
        if self._groups:
            self._check_names()
            self.base = _common(self._spaces()) | self._given
            self._check_options()

    @property
    def fixed(self) -> list[str]:
        """The overrides that are no ranges."""
        return self._line.fixed

    @property
    def fixed_values(self) -> dict[str, str]:
        """The values of these overrides by key, as they are written."""
        return {
            key.lstrip("+~"): value
            for key, _, value in (each.partition("=") for each in self.fixed)
        }

    @property
    def texts(self) -> dict[str, str]:
        """Each range as it is written; of one that only some options bring, these options."""
        params = texts_of(self._params)
        written = {self._line.name_of(key): str(text) for key, text in params.items()}
        written |= self._line.ranges
        some = self.every.distributions.keys() - self.base.distributions.keys()
        written |= {name: f"with {' or '.join(self._conditions(name))}" for name in some}
        return {name: written[name] for name in self.every.distributions if name in written}

    @cached_property
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

    @property
    def size(self) -> float:
        """Number of different trials; infinite where a range has no steps."""
        if not self._groups:
            return self.base.size
        return sum(branch.size for branch in self.branches)

    def value(self, name: str, sampled: Any) -> Any:
        """The value in the config for a sampled value of a parameter."""
        return self.every.value(name, sampled)

    def active(self, values: Mapping[str, Any]) -> SearchSpace:
        """The ranges that are active once the given parameters are chosen.

        A swept config group adds the ranges that the chosen option brings. A group of which nothing
        is chosen yet has its first option.
        """
        if not any(name in values for name in self._groups):
            return self.base
        chosen = {name: self._values(name)[0] for name in self._groups}
        chosen |= {name: values[name] for name in self._groups if name in values}
        return self._composed_space(chosen) | self._given

    def allowing(self, values: Mapping[str, Any]) -> SearchSpace:
        """The ranges that a known configuration has, whatever it leaves to the sampler.

        Args:
            values: the configuration.
        """
        chosen = {
            name: values[name]
            for name in self._groups
            if name in values and self._given.encode(name, values[name]) in self._options(name)
        }
        space = _common(self._spaces(chosen) or [self.active(chosen)]) | self._given
        space.conditions = {
            name: f"belongs to {', '.join(self._conditions(name))}: name such an option beside it, "
            f"or leave {name} out"
            for name in self.every.distributions
            if name not in space.distributions
        }
        return space

    def job(self, number: int, params: Mapping[str, Any], settings: Mapping[str, Any]) -> HydraJob:
        """The job of a trial.

        Args:
            number: number of the job.
            params: sampled values by parameter.
            settings: values that explr sets for this job alone, by dotted key.
        """
        return self._line.job(number, params, settings)

    @property
    def example(self) -> HydraJob:
        """A job with some value of each range."""
        return self._example({})

    @property
    def conditional(self) -> Iterator[HydraJob]:
        """Such a job for each option of a swept group that brings further ranges."""
        for group in self._groups:
            for option in self._values(group):
                if self.active({group: option}).distributions.keys() - self.base.distributions:
                    yield self._example({group: option})

    def _example(self, chosen: Mapping[str, Any]) -> HydraJob:
        options = {**{name: self._values(name)[0] for name in self._groups}, **chosen}
        ranges = self.active(options)
        return self.job(0, {n: ranges.example(n) for n in ranges.distributions} | options, {})

    def chooses(self, params: Mapping[str, Any]) -> bool:
        """Whether a trial with these values chooses options of config groups."""
        return any(name in params for name in self._groups)

    def compose(self, job: HydraJob) -> DictConfig:
        """The config of a job, composed anew."""
        return self._loader.load_sweep_config(self._config, job.overrides)

    def _options(self, group: str) -> Sequence[Any]:
        """What may be chosen of a swept group, as Optuna stores it."""
        options: Sequence[Any] = self._given.distributions[group].choices  # type: ignore[attr-defined]
        return options

    def _values(self, group: str) -> list[Any]:
        """What may be chosen of a swept group."""
        return [self._given.value(group, code) for code in self._options(group)]

    def _ranges_of(self, params: Mapping[str, Any]) -> SearchSpace:
        """The ranges of a config, without the parameters that the command line sets."""
        texts = {self._line.name_of(key): text for key, text in texts_of(params).items()}
        return ranges_of({k: v for k, v in texts.items() if k not in self._line.named})

    def _composed_space(self, chosen: Mapping[str, Any]) -> SearchSpace:
        """The ranges of the config with an option of each swept group chosen."""
        overrides = tuple(
            self._line.written(name, value)
            for name, value in chosen.items()
            if not isinstance(value, dict)  # which changes the values of an option
        )
        if overrides not in self._composed:
            try:
                line = [*self._line.fixed, *overrides]
                config = self._loader.load_sweep_config(self._config, line)
            except MissingConfigException as error:
                unknown = [n for n, v in chosen.items() if _is_missing(error, n, v)]
                if not unknown:  # an option wants a config that is not there
                    raise
                raise ConfigError([self._unknown(name, chosen[name]) for name in unknown]) from None
            node = OmegaConf.select(config, f"{SWEEPER_NODE}.params") or OmegaConf.create({})
            ranges: Any = OmegaConf.to_container(node, resolve=True)
            self._composed[overrides] = self._ranges_of(ranges)
        return self._composed[overrides]

    def _unknown(self, name: str, value: Any) -> str:
        """What is wrong with an option of a swept group that does not exist."""
        there = self._line.options(name)
        return (
            f"{self._line.written(name, value)}: there is no such option, {name} is one of {there}"
        )

    def _check_names(self) -> None:
        """Check that the options of swept groups are names, lists of names, or mappings of values.

        Raises:
            ConfigError: naming each that is none.
        """
        faults = []
        for name in self._groups:
            if not hasattr(self._given.distributions[name], "choices"):
                there = self._line.options(name)
                faults.append(f"{name} is a config group: list options of it, which are {there}")
                continue
            wrong = [each for each in self._values(name) if not isinstance(each, str | list | dict)]
            faults += [self._unknown(name, option) for option in wrong]
        if faults:
            raise ConfigError(faults)

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

    def _spaces(self, chosen: Mapping[str, Any] | None = None) -> list[SearchSpace]:
        """The ranges of each option of the swept groups.

        Args:
            chosen: what is chosen already, by group.
        """
        known = dict(chosen or {})
        return [
            self.active(known | {name: option})
            for name in self._groups
            if name not in known
            for option in self._values(name)
        ]

    def _conditions(self, name: str) -> list[str]:
        """The options that bring a range of a parameter, of groups whose options differ there."""
        found: list[str] = []
        for group in self._groups:
            spaces = {option: self.active({group: option}) for option in self._values(group)}
            if name not in _common(list(spaces.values())).distributions:
                bringing = [option for option, one in spaces.items() if name in one.distributions]
                found += [f"{group}={word(option)}" for option in bringing]
        return found


def _common(spaces: Sequence[SearchSpace]) -> SearchSpace:
    """The ranges that some search spaces agree on."""
    first = spaces[0]
    names = [name for name in first.distributions if all(s.agrees_on(name, first) for s in spaces)]
    return first.without([name for name in first.distributions if name not in names])


def _is_missing(error: MissingConfigException, name: str, option: Any) -> bool:
    """Whether an option of a group is the config that Hydra does not find."""
    group = name.partition("@")[0]
    options = option if isinstance(option, list) else [option]
    return error.missing_cfg_file in {f"{group}/{each}" for each in options}


def texts_of(params: Mapping[Any, Any]) -> dict[str, Any]:
    """The ranges of a resolved config, by dotted key.

    What is left of `${` in them was escaped, and is again.
    """
    return {
        name: re.sub(r"(\\*)\$\{", r"\1\1\${", text) if isinstance(text, str) else text
        for name, text in _leaves(params).items()
    }


def _leaves(params: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """The values of nested mappings by dotted key; a mapping that describes a range is a value."""
    leaves: dict[str, Any] = {}
    for key, value in params.items():
        if isinstance(value, Mapping) and value and not as_range(value):
            leaves |= _leaves(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves


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
    params: Mapping[str, Any], line: Sequence[str]
) -> tuple[dict[str, Any], list[str]]:
    """Take fixed values out of the params of a sweep, as Hydra's own sweepers take them.

    Args:
        params: ranges and values, in Hydra's grammar by parameter.
        line: the overrides of the sweep, which override them.

    Returns:
        The ranges, and the overrides with those of the fixed values before them.

    Raises:
        ConfigError: naming every text that cannot be read, and what may be meant as a range.
    """
    named = {text.lstrip("+~").partition("=")[0] for text in line}
    left = {k: v for k, v in _leaves(params).items() if k.lstrip("+~") not in named}
    fixed = fixed_of(texts_of(left))
    ranges = {name: text for name, text in left.items() if name not in fixed}
    return ranges, [*(f"{name}={word(value)}" for name, value in fixed.items()), *line]
