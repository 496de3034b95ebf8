"""The importance of hyperparameters: PED-ANOVA (Watanabe, Bansal, Hutter: IJCAI 2023).

A parameter is important if its values in good trials differ from its values in all trials. Optuna
has the same with more options, but its import loads scikit-learn, which would delay the end of
every sweep by seconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from optuna.distributions import BaseDistribution


CELLS = 50
"""Number of cells that a numeric range is divided into."""

NARROWEST = 0.5 / 1.64
"""Smallest width of a kernel in cells: 90 % of it is in its own cell."""


def importances(
    held: Sequence[Mapping[str, Any]],
    losses: Sequence[float],
    ranges: Mapping[str, BaseDistribution],
) -> dict[str, float]:
    """The importance of each parameter, the largest first.

    Args:
        held: for each trial its parameters by name.
        losses: for each trial its value; smaller is better.
        ranges: Optuna's distribution of each parameter.

    Returns:
        Importances that sum to 1, for the parameters that every trial has and that vary; empty if
        they are undefined, as if all trials have the same value.
    """
    names = [
        name
        for name in ranges
        if all(name in params for params in held) and len({str(p[name]) for p in held}) > 1
    ]
    if not names or len(set(losses)) < 2:
        return {}
    # The best tenth; of few trials more, since two or three tell little.
    count = max(math.ceil(len(losses) / 10), min(5, len(losses) // 2))
    last, worst = sorted(losses)[count - 1], max(losses)
    # Equal values are all good or none is, and the worst never are.
    good = [i for i, loss in enumerate(losses) if loss <= last and (last < worst or loss < worst)]
    found = {
        name: _divergence(ranges[name], [params[name] for params in held], good) for name in names
    }
    total = sum(found.values())
    if not total:
        return {}
    return {
        name: found[name] / total for name in sorted(found, key=found.__getitem__, reverse=True)
    }


def _divergence(of: BaseDistribution, values: Sequence[Any], good: Sequence[int]) -> float:
    """Pearson divergence between the values of the good trials and all values."""
    import numpy as np

    low, high = getattr(of, "low", None), getattr(of, "high", None)
    if low is None or high is None:
        choices = list(dict.fromkeys(map(str, values)))
        cells = np.array([choices.index(str(value)) for value in values])
        every, best = (_shares(cells[i], len(choices)) for i in (slice(None), list(good)))
    else:
        places = np.log(values) if getattr(of, "log", False) else np.array(values, float)
        low, high = places.min(), places.max()
        cells = (places - low) / (high - low) * (CELLS - 1)
        every, best = (_density(cells[i]) for i in (slice(None), list(good)))
    return float((every * (best / every - 1) ** 2).sum())


def _shares(cells: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Frequency of each choice, with one additional trial spread evenly over all choices."""
    import numpy as np

    return (np.bincount(cells, minlength=count) + 1 / count) / (len(cells) + 1)


def _density(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """Density in each cell: kernels with the width of Scott's rule, and a uniform one."""
    import numpy as np

    spread = min(np.subtract(*np.percentile(cells, (75, 25))) / 1.34, cells.std())
    width = max(1.059 * spread * len(cells) ** -0.2, NARROWEST)
    kernels = np.exp(-(((np.arange(CELLS)[:, None] - cells) / width) ** 2) / 2)
    kernels /= kernels.sum(0)
    return np.asarray((kernels.sum(1) + 1 / CELLS) / (len(cells) + 1))
