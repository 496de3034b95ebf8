"""Ranges of hyperparameters in Python, beside their defaults: `interval`, `range` and `choice`.

They spell Hydra's sweep grammar, which the command line takes; a tuner reads that text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from explr.core.errors import ConfigError
from explr.core.numbers import unboxed

FREE: Any = ...
"""Default of a range that leaves it to the range."""

DIGITS = 3
"""Significant digits of the middle of an interval of floats, where it is the default."""


@dataclass(frozen=True, repr=False)
class Range:
    """A hyperparameter's default, and the values that a tuner may give it.

    Args:
        kind: `interval`, `range` or `choice`.
        values: its arguments: the two ends; start, stop and step; the choices.
        log: the tuner samples the logarithm evenly.
        integer: an interval of whole numbers.
        given: the default that was given; `FREE` if none was.
    """

    kind: str
    values: tuple[Any, ...]
    log: bool = False
    integer: bool = False
    given: Any = FREE

    @property
    def text(self) -> str:
        """The range in Hydra's sweep grammar."""
        from explr.config.grammar import literal

        text = f"{self.kind}({', '.join(map(literal, self.values))})"
        text = f"int({text})" if self.integer else text
        return f"tag(log, {text})" if self.log else text

    @property
    def default(self) -> Any:
        """The value of a training that searches nothing."""
        if self.given is not FREE:
            return self.given
        if self.kind == "choice":
            return self.values[0]
        if self.kind == "range":
            start, _, step = map(_exact, self.values)
            value = start + (self._count() - 1) // 2 * step
            whole = all(type(each) is int for each in self.values)
            return int(value) if whole else float(value)
        low, high = self.values
        middle = math.sqrt(low) * math.sqrt(high) if self.log else low + (high - low) / 2
        if self.integer:
            return round(middle)
        short = float(f"{middle:.{DIGITS}g}")
        return short if low <= short <= high else middle

    def fault(self) -> str | None:
        """Why nothing can be searched there, as part of a sentence; None if it can."""
        if self.kind == "choice":
            if not self.values:
                return "there is nothing to choose"
            if odd := [each for each in self.values if not _is_plain(each)]:
                return (
                    f"{odd[0]!r} is no value of a config: choose among numbers, texts, true, "
                    "false, None, lists and mappings, such as names that the training looks up"
                )
            return None if self._holds(self.given) else "the default is none of the choices"
        if any(type(each) not in (int, float) or not math.isfinite(each) for each in self.values):
            return "the ends must be finite numbers"
        if self.kind == "range":
            if self.values[2] == 0:
                return "the step must not be 0"
            if self._count() < 1:
                return "it holds no value"
            return None if self._holds(self.given) else "the default is not in the range"
        low, high = self.values
        if low >= high:
            return "the first end must be less than the second one"
        if self.log and low <= 0:
            return "with log=True both ends must be greater than 0"
        if self.integer and any(type(each) is not int for each in self.values):
            return "with integer=True both ends must be integers"
        return None if self._holds(self.given) else "the default lies outside of it"

    def _holds(self, value: Any) -> bool:
        if value is FREE:
            return True
        if self.kind == "choice":
            return value in self.values
        if type(value) not in (int, float) or not math.isfinite(value):
            return False
        if self.kind == "interval":
            is_kind = type(value) is int or not self.integer
            return bool(is_kind and self.values[0] <= value <= self.values[1])
        start, _, step = map(_exact, self.values)
        place = (_exact(value) - start) / step
        return place.denominator == 1 and 0 <= place < self._count()

    def _count(self) -> int:
        """Number of values of a `range`; its stop is left out."""
        start, stop, step = map(_exact, self.values)
        return math.ceil((stop - start) / step)

    def __repr__(self) -> str:
        flags = {"log=True": self.log, "integer=True": self.integer}
        options = [*map(repr, self.values), *(flag for flag, is_set in flags.items() if is_set)]
        options += [] if self.given is FREE else [f"default={self.given!r}"]
        return f"explr.{self.kind}({', '.join(options)})"


def interval(
    low: float, high: float, *, log: bool = False, integer: bool = False, default: Any = FREE
) -> Range:
    """A number between two ends: `explr.interval(1e-4, 1e-1, log=True)`.

    Args:
        low: the least value.
        high: the greatest value.
        log: sample the logarithm evenly, for what spans several powers of ten.
        integer: sample integers only, as `int(interval(…))` does; otherwise every value is a float,
            also between integers.
        default: the value without a tuner; the middle if it is left out, of the logarithms with
            `log`, to three significant digits.

    Returns:
        A value for `hyperparameters=` of `explr.main`, `explr.tune` and `explr.compose`.
    """
    return Range("interval", (unboxed(low), unboxed(high)), log, integer, unboxed(default))


def range(
    start: float, stop: float | None = None, step: float = 1, *, default: Any = FREE
) -> Range:
    """The numbers from `start` in steps, below `stop`: `explr.range(16, 129, 16)`.

    Args:
        start: the first value; 0 if it is the only argument, which then is the stop, as in Python.
        stop: the end, which is left out.
        step: from one value to the next one.
        default: the value without a tuner; the middle one if it is left out.

    Returns:
        A value for `hyperparameters=`; see `interval`.
    """
    ends = (0, start) if stop is None else (start, stop)
    return Range("range", tuple(map(unboxed, (*ends, step))), given=unboxed(default))


def choice(*choices: Any, default: Any = FREE) -> Range:
    """One of some values: `explr.choice("adam", "sgd")`.

    Args:
        choices: the values: numbers, texts, booleans, None, lists and mappings. A list that is
            the only argument has the choices.
        default: the value without a tuner; the first one if it is left out.

    Returns:
        A value for `hyperparameters=`; see `interval`.
    """
    one = choices[0] if len(choices) == 1 else None
    listed = tuple(one) if isinstance(one, Sequence) and not isinstance(one, str) else choices
    return Range("choice", tuple(map(unboxed, listed)), given=unboxed(default))


def with_ranges(hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """Hyperparameters as a search space has them: defaults, and ranges under `search_space`.

    Args:
        hyperparameters: defaults and ranges by name; mappings may nest.

    Raises:
        ConfigError: naming each range that cannot be searched.
    """
    ranges: dict[str, Any] = {}
    faults: list[str] = []

    def defaults(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        return {str(key): default(f"{prefix}{key}", value) for key, value in values.items()}

    def default(name: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return defaults(value, f"{name}.")
        if isinstance(value, (list, tuple)) and any(isinstance(each, Range) for each in value):
            faults.append(f"{name}: a range within a list cannot be searched: give it a name")
        if not isinstance(value, Range):
            return value
        if (fault := value.fault()) is not None:
            faults.append(f"{name}: {value!r}: {fault}")
            return None
        ranges[name] = value.text
        return value.default

    content = defaults(hyperparameters, "")
    if faults:
        raise ConfigError(faults)
    return {**content, "search_space": ranges} if ranges else content


def _exact(value: Any) -> Fraction:
    """A number as it is written: 0.1 is a tenth."""
    return Fraction(str(value))


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_plain, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (str, int, float))
