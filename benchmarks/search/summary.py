"""What the rows of many searches say: medians, paired tests with their correction, a picture.

`summary.py FILE…` reads rows that `p14_lcbench.py --rows FILE` has written; `--picture FILE.svg`
draws them.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from lcbench import EPOCHS, TRAININGS
from rows import Row, read_rows

SIGNIFICANT = 0.05
REACHED = 0.1
"""The regret until which trainings are counted."""


def regret(row: Row, trainings: float, unit: int = EPOCHS) -> float:
    """The regret of a search after some trainings.

    With one worker a training is counted in epochs, with several in the time of a median one.

    Args:
        row: the search.
        trainings: how many; the workers share them.
        unit: epochs of a training.
    """
    best = float("inf")
    for epochs, time, found in row.steps:
        late = epochs > trainings * unit if row.workers == 1 else time > trainings / row.workers
        if late:
            break
        best = found
    return best


def until(row: Row, unit: int = EPOCHS) -> float:
    """Trainings until the regret is `REACHED`; infinite if the search has not reached it."""
    for epochs, time, found in row.steps:
        if found <= REACHED:
            return epochs / unit if row.workers == 1 else time * row.workers
    return float("inf")


def compared(rows: Sequence[Row], budgets: Sequence[float], unit: int) -> dict[str, list[float]]:
    """P-values of the first method against each other, at each budget.

    Wilcoxon's signed-rank test, paired by task and seed, two-sided, corrected by Holm over all of
    these comparisons.
    """
    from scipy.stats import wilcoxon

    first, *others = dict.fromkeys(row.method for row in rows)
    at = {
        (row.method, row.pair, budget): regret(row, budget, unit)
        for row in rows
        for budget in budgets
    }
    pairs = {row.pair for row in rows if row.method == first}
    raw: dict[tuple[str, float], float] = {}
    for method in others:
        both = sorted(pairs & {row.pair for row in rows if row.method == method})
        for budget in budgets:
            mine = [at[first, pair, budget] for pair in both]
            its = [at[method, pair, budget] for pair in both]
            raw[method, budget] = 1.0 if mine == its else float(wilcoxon(mine, its).pvalue)
    corrected: dict[tuple[str, float], float] = {}
    worst = 0.0
    for rank, (key, p) in enumerate(sorted(raw.items(), key=lambda item: item[1])):
        worst = max(worst, min(1.0, p * (len(raw) - rank)))
        corrected[key] = worst
    return {method: [corrected[method, each] for each in budgets] for method in others}


def table(
    name: str, rows: Sequence[Row], targets: Mapping[int, float | None], unit: int = EPOCHS
) -> str:
    """The median regrets as a Markdown table; the first method is compared with the others.

    Args:
        name: name of the benchmark.
        rows: the searches.
        targets: what the first method is to reach with one worker, by trainings.
        unit: epochs of a training.
    """
    budgets = list(targets)
    parts = []
    for workers in dict.fromkeys(row.workers for row in rows):
        of = [row for row in rows if row.workers == workers]
        tests = compared(of, budgets, unit)
        first = of[0].method
        tasks = len({row.task for row in of})
        parts.append(
            f"{name}, {workers} worker{'s' * (workers > 1)}, {tasks} tasks, "
            f"{len({row.pair for row in of})} searches each"
        )
        head = ["search", *(f"{each}" for each in budgets)]
        if unit > 1:
            head.append(f"trainings until {REACHED:g}")
        lines = [head, ["---"] * len(head)]
        middle = {}
        for method in dict.fromkeys(row.method for row in of):
            mine = [row for row in of if row.method == method]
            middle[method] = [median(regret(row, each, unit) for row in mine) for each in budgets]
            cells = [f"{value:.3f}" for value in middle[method]]
            for place, p in enumerate(tests.get(method, [])):
                if p < SIGNIFICANT:
                    better = _wins(of, first, method, budgets[place], unit)
                    cells[place] += f" {'worse' if better else 'better'} (p {_spelled(p)})"
            if unit > 1:
                cells.append(f"{median(until(row, unit) for row in mine):.1f}")
            lines.append([method, *cells])
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
        if workers == 1:
            for place, (budget, target) in enumerate(targets.items()):
                if target is not None:
                    met = "met" if middle[first][place] <= target else "missed"
                    parts.append(f"{name} target after {budget} trainings ≤ {target:g}: {met}")
    return "\n\n".join(parts)


def _wins(rows: Sequence[Row], first: str, other: str, budget: float, unit: int) -> bool:
    """Whether the first method is better than another in more pairs than not."""
    found = {(row.method, row.pair): regret(row, budget, unit) for row in rows}
    pairs = {pair for method, pair in found if method == first and (other, pair) in found}
    ahead = sum(found[first, pair] < found[other, pair] for pair in pairs)
    behind = sum(found[first, pair] > found[other, pair] for pair in pairs)
    return ahead >= behind


def _spelled(p: float) -> str:
    return f"{p:.3f}".lstrip("0") if p >= 0.001 else "< .001"


def draw(rows: Sequence[Row], file: Path) -> None:
    """Draw the median regret of each search over the trainings that it has spent."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "explr"})
    from matplotlib import pyplot

    counts = list(dict.fromkeys(row.workers for row in rows))
    methods = list(dict.fromkeys(row.method for row in rows))
    figure, axes = pyplot.subplots(
        1, len(counts), figsize=(5 * len(counts), 4.6), sharey=True, squeeze=False
    )
    places = [2 + each / 2 for each in range(2 * (TRAININGS - 2) + 1)]
    colours = pyplot.get_cmap("tab20").colors
    for workers, axis in zip(counts, axes[0], strict=True):
        for number, method in enumerate(methods):
            of = [row for row in rows if row.method == method and row.workers == workers]
            axis.plot(
                places,
                [median(regret(row, each) for row in of) for each in places],
                color="black" if number == 0 else colours[(2 * number - 2) % 20 + number // 11],
                linewidth=2.4 if number == 0 else 1.1,
                label=method,
            )
        axis.set_title(f"{workers} worker{'s' * (workers > 1)}")
        axis.set_xlabel("whole trainings spent")
        axis.set_yscale("log")
        axis.grid(True, which="both", alpha=0.25)
    axes[0][0].set_ylabel("normalised regret, median")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=3, fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.06 + 0.035 * (len(methods) // 3), 1, 1))
    figure.savefig(file, metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    from p14_lcbench import TARGETS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    found = read_rows(arguments.files)
    print(table("P14", found, TARGETS))
    if arguments.picture is not None:
        draw(found, arguments.picture)
