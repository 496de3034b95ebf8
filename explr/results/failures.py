"""Which kinds of failures a sweep had, and for which parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from explr.core.secrets.masking import redacted
from explr.results.text import plain
from explr.tuning.feasibility.failure import Failure

UNKNOWN = "of unknown kind"
"""In place of the kind of a failure that an older explr has recorded."""

LEAST = 3
"""Number of failures of a kind from which a condition is looked for."""

MOST_INSIDE = 0.1
"""Fraction of the other trials that may fulfil a condition too."""

SHUFFLES = 199
"""Random assignments of the failures to the trials, with which a condition is compared."""

CHANCE = 0.05
"""A condition is not told if at least this share of the random assignments has one as good."""


def failures_line(trials: Sequence[Mapping[str, Any]]) -> str | None:
    """How many trials failed, of which kinds, and for which parameters; None if none failed.

    Args:
        trials: the trials as in `results.json`.
    """
    failed = [trial for trial in trials if trial["state"] == "FAIL"]
    counts = Counter(str(trial.get("failure") or UNKNOWN) for trial in failed)
    if not failed:
        return None
    others = [trial["params"] for trial in trials if trial["state"] in ("COMPLETE", "PRUNED")]
    parts = []
    for kind, count in counts.most_common():
        of_kind = [trial["params"] for trial in failed if (trial.get("failure") or UNKNOWN) == kind]
        where = "" if _is_accident(kind) else condition(of_kind, others)
        parts.append(f"{count} {kind}{f' where {where}' if where else ''}")
    return f"{len(failed)} failed: {', '.join(parts)}"


def _is_accident(kind: str) -> bool:
    return kind in [*Failure] and Failure(kind).is_accident


def condition(failed: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> str:
    """What the parameters of failed trials have in common, as text; "" if nothing is certain.

    It has at most two parts, each of which bounds a parameter on one side or names its choices.
    All failed trials fulfil it, and hardly any of the others. By chance, as a permutation test
    tells, such a condition would be rare.

    Args:
        failed: values by parameter of each failed trial.
        others: those of the trials that did not fail.
    """
    import numpy as np

    if len(failed) < LEAST or not others:
        return ""
    axes = list(_axes([*failed, *others]))
    if not axes:
        return ""
    has_failed = np.arange(len(failed) + len(others)) < len(failed)
    inside = _inside(axes, has_failed)
    least = inside.min()
    if least > MOST_INSIDE * len(others):
        return ""
    random = np.random.default_rng(0)
    shuffled = [_inside(axes, random.permutation(has_failed)).min() for _ in range(SHUFFLES)]
    if (1 + sum(each <= least for each in shuffled)) / (1 + SHUFFLES) > CHANCE:
        return ""
    alone = np.diagonal(inside)
    places = [int(alone.argmin())]
    if alone.min() > least:
        places = [int(place) for place in np.unravel_index(inside.argmin(), inside.shape)]
    return " and ".join(axes[place].text(has_failed) for place in sorted(places))


@dataclass(frozen=True)
class _Axis:
    """A parameter, bounded on one side or by its choices.

    Args:
        name: its name.
        values: its value in each trial.
        codes: these as numbers that grow in the direction of the bound; NaN if it has none.
        sign: `>=`, `<=`, or `is` for choices.
    """

    name: str
    values: Sequence[Any]
    codes: Any
    sign: str

    def fulfilled(self, failed: Any) -> Any:
        """Which trials fulfil the narrowest condition that all failed ones fulfil."""
        import numpy as np

        bounds = self.codes[failed]
        if np.isnan(bounds).any():
            return np.ones(len(self.codes), bool)
        return np.isin(self.codes, bounds) if self.sign == "is" else self.codes >= bounds.min()

    def text(self, failed: Any) -> str:
        """That condition."""
        values = [
            value for value, has_failed in zip(self.values, failed, strict=True) if has_failed
        ]
        if self.sign != "is":
            return f"{self.name} {self.sign} {plain((min if self.sign == '>=' else max)(values))}"
        texts = list(dict.fromkeys(map(plain, values)))
        return f"{self.name} is {' or '.join(texts)}"


def _axes(params: Sequence[Mapping[str, Any]]) -> Iterator[_Axis]:
    import numpy as np

    shown = [redacted(dict(each)) for each in params]
    for name in dict.fromkeys(name for each in shown for name in each):
        values = [each.get(name) for each in shown]
        known = [value for value in values if value is not None]
        if all(type(value) in (int, float) for value in known):
            codes = np.array([np.nan if value is None else float(value) for value in values])
            yield _Axis(name, values, codes, ">=")
            yield _Axis(name, values, -codes, "<=")
            continue
        texts = [None if name not in each else str(each[name]) for each in shown]
        numbers = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        codes = np.array([np.nan if text is None else float(numbers[text]) for text in texts])
        yield _Axis(name, values, codes, "is")


def _inside(axes: Sequence[_Axis], failed: Any) -> Any:
    """How many of the other trials fulfil each pair of conditions."""
    import numpy as np

    fulfilled = np.array([axis.fulfilled(failed)[~failed] for axis in axes], np.float32)
    return fulfilled @ fulfilled.T
