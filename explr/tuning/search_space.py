"""What a sweep searches: ranges in Hydra's sweep grammar as Optuna's distributions."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from math import ceil, ulp
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    Glob,
    IntervalSweep,
    Override,
    RangeSweep,
    Transformer,
)
from hydra.errors import HydraException

from explr.config.grammar import grammar_fault, literal, plain, word
from explr.core.errors import ConfigError
from explr.core.secrets.names import is_secret

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial


Scalar = str | int | float | bool | None
"""Types of choices that Optuna stores unchanged."""


@dataclass
class SearchSpace:
    """Ranges by parameter.

    Args:
        distributions: Optuna's distribution of each parameter.
        decode: for each parameter with choices that Optuna cannot store, such as lists, the value
            of each encoded choice.
        conditions: what the ranges of further parameters depend on, as part of a sentence.
    """

    distributions: dict[str, BaseDistribution] = field(default_factory=dict)
    decode: dict[str, dict[str, Any]] = field(default_factory=dict)
    conditions: dict[str, str] = field(default_factory=dict)

    def value(self, name: str, sampled: Any) -> Any:
        """What a sampled value stands for."""
        codes = self.decode.get(name)
        return codes[sampled] if codes else sampled

    def example(self, name: str) -> Any:
        """Some value of a parameter."""
        distribution: Any = self.distributions[name]
        first = distribution.choices[0] if hasattr(distribution, "choices") else distribution.low
        return self.value(name, first)

    def encode(self, name: str, value: Any) -> Any:
        """A value of a parameter as Optuna stores it."""
        return _encoded(value) if name in self.decode else value

    def fault(self, name: str, code: Any) -> str | None:
        """Why a parameter cannot have an encoded value; None if it can."""
        from optuna.trial import create_trial

        distribution = self.distributions.get(name)
        if name in self.conditions:
            return self.conditions[name]
        if distribution is None:
            return f"is not searched: the ranges are {', '.join(self.distributions)}"
        try:
            create_trial(value=0.0, params={name: code}, distributions={name: distribution})
        except (ValueError, TypeError):
            return f"is not in {distribution}"
        return None

    def agrees_on(self, name: str, other: SearchSpace) -> bool:
        """Whether two search spaces have the same range for a parameter."""
        return name in self.distributions and (
            self.distributions[name] == other.distributions.get(name)
            and self.decode.get(name) == other.decode.get(name)
        )

    @property
    def size(self) -> float:
        """Number of combinations of values; infinite where a range has no steps."""
        return math.prod(map(_count, self.distributions.values()))

    def without(self, names: Sequence[str]) -> SearchSpace:
        """The ranges of all other parameters."""
        kept = {k: v for k, v in self.distributions.items() if k not in names}
        return SearchSpace(kept, {k: v for k, v in self.decode.items() if k in kept})

    def __or__(self, other: SearchSpace) -> SearchSpace:
        mine = self.without(list(other.distributions))
        return SearchSpace(mine.distributions | other.distributions, mine.decode | other.decode)


class SearchSpaceBuilder:
    """Builds ranges in Python, in the grammar that the command line takes.

    >>> SearchSpaceBuilder().interval("lr", 1e-5, 1e-2, log=True).choice("width", [16, 32]).build()
    {'lr': 'tag(log, interval(1e-05, 0.01))', 'width': '16,32'}
    """

    def __init__(self) -> None:
        self._ranges: dict[str, str] = {}

    def interval(
        self, name: str, low: float, high: float, *, log: bool = False
    ) -> SearchSpaceBuilder:
        """A number from `low` to `high`, both included; `log` samples its logarithm evenly."""
        return self._interval(name, f"interval({float(low)!r}, {float(high)!r})", log)

    def integer(self, name: str, low: int, high: int, *, log: bool = False) -> SearchSpaceBuilder:
        """An integer from `low` to `high`, both included; `log` samples its logarithm evenly."""
        return self._interval(name, f"int(interval({low}, {high}))", log)

    def range(self, name: str, start: float, stop: float, step: float) -> SearchSpaceBuilder:
        """The numbers `start`, `start + step`, … below `stop`."""
        self._ranges[name] = f"range({start!r}, {stop!r}, {step!r})"
        return self

    def choice(self, name: str, choices: Sequence[Any]) -> SearchSpaceBuilder:
        """One of the given values; two or more, since one alone is no choice."""
        self._ranges[name] = ",".join(literal(choice) for choice in choices)
        return self

    def build(self) -> dict[str, str]:
        """The ranges by parameter, in Hydra's sweep grammar."""
        return dict(self._ranges)

    def _interval(self, name: str, text: str, log: bool) -> SearchSpaceBuilder:
        self._ranges[name] = f"tag(log, {text})" if log else text
        return self


def parse(ranges: Mapping[str, Any]) -> tuple[SearchSpace, dict[str, Any]]:
    """Read ranges that a config or a command line gives.

    Args:
        ranges: text in Hydra's sweep grammar by parameter; a value that is no sweep is fixed.

    Returns:
        The ranges, and the fixed values.

    Raises:
        ConfigError: naming every range that cannot be read.
    """
    space = SearchSpace()
    fixed: dict[str, Any] = {}
    faults: list[str] = []
    for name, text in ranges.items():
        if not isinstance(text, str):
            fixed[name] = text
            continue
        line = f"{name}={text}"
        try:
            with steady_order(text):
                override = OverridesParser.create().parse_override(line)
            if override.is_sweep_override():
                _add(space, name, override)
                if fault := secret_fault(name, space.example(name)):
                    faults.append(fault)
            else:
                fixed[name] = plain(override.value())
        except (HydraException, ValueError, NotImplementedError) as error:
            faults.append(grammar_fault(line) or f"{line}: {str(error).splitlines()[0]}")
    if faults:
        raise ConfigError(faults)
    return space, fixed


def secret_fault(name: str, value: Any) -> str | None:
    """Why a parameter cannot be searched because it is a secret; None if it is none.

    Args:
        name: the parameter.
        value: a value of it.
    """
    key = name.lstrip("+~")
    if not is_secret(key, value):
        return None
    return (
        f"{key} is a secret, and a sweep keeps each value that it tries: search the name of an "
        f"environment variable, as in +{key}_from=FIRST,SECOND and "
        f"'+{key}=\"${{oc.env:${{{key}_from}}}}\"'; if it is none, name it in "
        "tracking.harmless_names"
    )


BOUNDS = (("low", "high"), ("lower", "upper"), ("min", "max"))
"""Names of the ends of a range in other libraries."""


def as_range(value: Any) -> str | None:
    """How a range is written that is given as other libraries have it; None if it is none.

    Args:
        value: a list of choices, or a mapping such as `{type: float, low: 0, high: 1}`.
    """
    if isinstance(value, Mapping):
        kind = str(value.get("type", value.get("distribution")))
        for low, high in BOUNDS:
            if all(type(value.get(end)) in (int, float) for end in (low, high)):
                if step := value.get("step"):  # Hydra's stop is left out
                    stop = Decimal(str(value[high])) + Decimal(str(step))
                    return f"range({value[low]}, {stop}, {step})"
                text = f"interval({value[low]}, {value[high]})"
                text = f"int({text})" if "int" in kind else text
                return f"tag(log, {text})" if "log" in kind or value.get("log") else text
        value = value.get("choices", value.get("values"))
    return f"choice({', '.join(map(word, value))})" if isinstance(value, list) and value else None


@contextmanager
def steady_order(text: str) -> Iterator[None]:
    """Have `shuffle([…])` draw the same order whenever it is read, so that a study can resume."""
    before = random.getstate()
    random.seed(text)
    try:
        yield
    finally:
        random.setstate(before)


def _add(space: SearchSpace, name: str, override: Override) -> None:
    from optuna.distributions import CategoricalDistribution

    sweep = override.value()
    if isinstance(sweep, Glob):
        raise ValueError("only the command line takes glob(…), for a config group")
    if not isinstance(sweep, ChoiceSweep):
        if isinstance(sweep, RangeSweep):
            sweep.shuffle = False  # the sampler decides the order
        space.distributions[name] = _distribution(override)
        return
    choices = [plain(choice) for choice in sweep.list]
    try:
        codes = {_encoded(choice): choice for choice in choices}
    except TypeError:
        raise ValueError("a choice cannot have a range within it") from None
    if "???" in choices:
        raise ValueError("??? stands for a missing value and cannot be chosen")
    scalars = all(isinstance(choice, Scalar) for choice in choices)
    if scalars and len(set(choices)) == len(choices):  # True and 1 are one to Optuna
        space.distributions[name] = CategoricalDistribution(choices)
        return
    space.distributions[name] = CategoricalDistribution(list(codes))
    space.decode[name] = codes


def _distribution(override: Override) -> BaseDistribution:
    """Optuna's distribution of an interval or range.

    It is the one that Hydra's own Optuna sweeper makes, so a study that it began can resume.

    Raises:
        ValueError: a range has no value, or the step 0.
        NotImplementedError: it is no interval and no range.
    """
    from optuna.distributions import FloatDistribution, IntDistribution

    sweep: Any = override.value()
    if isinstance(sweep, IntervalSweep):
        low, high = sweep.start, sweep.end
        whole = isinstance(low, int) and isinstance(high, int)
        kind: Any = IntDistribution if whole else FloatDistribution
        distribution: BaseDistribution = kind(low, high, log="log" in sweep.tags)
        return distribution
    if not isinstance(sweep, RangeSweep):
        raise NotImplementedError(f"{override.input_line} cannot be sampled")
    if sweep.step == 0:
        raise ValueError("the step of a range must not be 0")
    if getattr(sweep, "transformers", ()):  # Hydra 1.4: a cast of each value
        return _one_of_its_values(override)
    start, stop, step = (Decimal(str(each)) for each in (sweep.start, sweep.stop, sweep.step))
    count = ceil((Fraction(stop) - Fraction(start)) / Fraction(step))
    if count <= 0:
        raise ValueError("a range must hold at least one value")
    # Hydra's stop is left out, and Optuna's is included.
    least, most = sorted((start, start + (count - 1) * step))
    if isinstance(sweep.range(), range):
        return IntDistribution(int(least), int(most), step=int(abs(step)))
    exact = all(Decimal(str(float(each))) == each for each in (least, most, abs(step)))
    distinct = least == most or float(abs(step)) >= max(ulp(float(least)), ulp(float(most)))
    if not (exact and distinct):
        return _one_of_its_values(override)
    return FloatDistribution(float(least), float(most), step=float(abs(step)))


def _count(distribution: Any) -> float:
    """How many values a distribution has."""
    if hasattr(distribution, "choices"):
        return float(len(distribution.choices))
    if distribution.step is None:
        return 1.0 if distribution.low == distribution.high else math.inf
    return float(round((distribution.high - distribution.low) / distribution.step) + 1)


def _one_of_its_values(override: Override) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution

    values: list[Any] = list(override.sweep_iterator(transformer=Transformer.encode))
    return CategoricalDistribution(values)


def _encoded(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


SpaceOf = Callable[[Mapping[str, Any]], SearchSpace]
"""The ranges that belong to some parameters."""


def check_ranges(trials: Sequence[FrozenTrial], space: SearchSpace) -> None:
    """Make sure that ranges fit the trials that were run before.

    A range may be widened; values that lie outside of it stay known.

    Args:
        trials: the trials of the study.
        space: every range that may become active.

    Raises:
        ConfigError: naming each parameter that changed its kind or its choices.
    """
    from optuna.distributions import check_distribution_compatibility

    last: dict[str, Any] = {}
    for trial in trials:
        last |= trial.distributions
    faults = []
    for name, before in last.items():
        now = space.distributions.get(name)
        try:
            if now is not None:
                check_distribution_compatibility(before, now)
        except ValueError:
            faults.append(
                f"{name} was searched in {before} before, and is now in {now}: keep the kind "
                "of range and the choices, or name another study with tuner.study_name"
            )
    if faults:
        raise ConfigError(faults)


def encoded_configurations(
    configurations: Sequence[Mapping[str, Any]], space_of: SpaceOf
) -> list[dict[str, Any]]:
    """Convert known configurations to the values that Optuna stores.

    Args:
        configurations: values by parameter.
        space_of: the ranges that allow a configuration.

    Raises:
        ConfigError: naming each value that the ranges do not allow.
    """
    encoded: list[dict[str, Any]] = []
    faults: list[str] = []
    for values in configurations:
        space = space_of(values)
        encoded.append({name: space.encode(name, value) for name, value in values.items()})
        faults += [
            f"tuner.enqueue: {name}={values[name]} {fault}"
            for name, code in encoded[-1].items()
            if (fault := space.fault(name, code))
        ]
    if faults:
        raise ConfigError(faults)
    return encoded
