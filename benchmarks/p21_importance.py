"""P21: how often the importances of a report name a parameter that does not matter.

Simulated sweeps of random search over four parameters, of which one matters, with some noise. A
report of too few trials names none.
"""

from __future__ import annotations

import math
import random
import sys

import optuna
from _timing import verdict
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import create_trial

from explr.core.errors import UsageError
from explr.results.report.importance import by_importance, importances

STUDIES = 40
AT_MOST = {14: 5, 30: 2, 100: 0}
"""Wrong names that Optuna's own importances give, by the number of trials."""

RANGES: dict[str, BaseDistribution] = {
    "lr": FloatDistribution(1e-5, 1e-1, log=True),
    "dropout": FloatDistribution(0.0, 0.5),
    "width": IntDistribution(8, 256),
    "optimizer": CategoricalDistribution(["sgd", "adam", "lion"]),
}


def main(studies: int) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for trials, at_most in AT_MOST.items():
        named = [first(simulated(seed, trials)) for seed in range(studies)]
        wrong = sum(name not in ("lr", None) for name in named)
        print(
            f"P21 {studies} sweeps of {trials} trials: a wrong parameter is named in {wrong}, none "
            f"in {named.count(None)}; target ≤ {at_most}: {verdict(wrong <= at_most)}",
            flush=True,
        )


def simulated(seed: int, trials: int) -> optuna.Study:
    """A sweep in which only `lr` matters."""
    draw = random.Random(seed)
    study = optuna.create_study()
    for _ in range(trials):
        params = {
            "lr": 10 ** draw.uniform(-5, -1),
            "dropout": draw.uniform(0.0, 0.5),
            "width": draw.randint(8, 256),
            "optimizer": draw.choice(["sgd", "adam", "lion"]),
        }
        value = (math.log10(params["lr"]) + 3) ** 2 + draw.gauss(0, 0.3)
        study.add_trial(create_trial(value=value, params=params, distributions=RANGES))
    return study


def first(study: optuna.Study) -> str | None:
    """The parameter that a report names first; None if it names none."""
    try:
        return by_importance(importances(study))[0]
    except UsageError:
        return None


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else STUDIES)
