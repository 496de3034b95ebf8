"""What the rows of many searches say: medians, paired tests with their correction, a picture.

`summary.py FILE…` reads rows that `p14_lcbench.py --rows FILE` has written; `--picture FILE.svg`
draws them, `--page FILE.md` puts the tables in a page.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median

from lcbench import EPOCHS, TRAININGS
from rows import EXPLR, Row, read_rows

SIGNIFICANT = 0.05
REACHED = 0.2
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


def table(rows: Sequence[Row], budgets: Sequence[float], unit: int) -> str:
    """The median regrets as a Markdown table; the first method is compared with the others.

    Args:
        rows: searches with the same number of workers.
        budgets: trainings after which they are compared.
        unit: epochs of a training.
    """
    tests = compared(rows, budgets, unit)
    first = rows[0].method
    head = ["search", *map(str, budgets)]
    if unit > 1:
        head.append(f"trainings until {REACHED:g}")
    lines = [head, ["---"] * len(head)]
    for method in dict.fromkeys(row.method for row in rows):
        of = [row for row in rows if row.method == method]
        cells = [f"{median(regret(row, each, unit) for row in of):.3f}" for each in budgets]
        for place, p in enumerate(tests.get(method, [])):
            if p < SIGNIFICANT:
                wins = _wins(rows, first, method, budgets[place], unit)
                cells[place] += f" {'worse' if wins else 'better'} (p {_spelled(p)})"
        if unit > 1:
            needed = median(until(row, unit) for row in of)
            cells.append(f"{needed:.1f}" if needed < TRAININGS else f"> {TRAININGS}")
        name = f"`{method}`" if "=" in method else method
        lines.append([f"{name} (default)" if method == EXPLR else name, *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def report(
    name: str, rows: Sequence[Row], targets: Mapping[int, float | None], unit: int = EPOCHS
) -> str:
    """The tables of some searches, and whether the first method has reached its targets.

    Args:
        name: name of the benchmark.
        rows: the searches.
        targets: what the first method is to reach with one worker, by trainings.
        unit: epochs of a training.
    """
    parts = []
    for workers, of in _by_workers(rows).items():
        parts.append(f"{name}, {_counted(of)}, {workers} worker{'s' * (workers > 1)}")
        parts.append(table(of, list(targets), unit))
        for budget, target in targets.items():
            mine = [row for row in of if row.method == of[0].method]
            if target is not None and workers == 1:
                met = median(regret(row, budget, unit) for row in mine) <= target
                told = "met" if met else "missed"
                parts.append(f"{name} target after {budget} trainings ≤ {target:g}: {told}")
    return "\n\n".join(parts)


def fill(
    page: Path, name: str, rows: Sequence[Row], budgets: Iterable[float], unit: int = EPOCHS
) -> None:
    """Put tables in a page, each below the comment with its name and number of workers.

    Args:
        page: a Markdown file.
        name: name of the benchmark.
        rows: the searches.
        budgets: trainings after which they are compared.
        unit: epochs of a training.
    """
    text = page.read_text()
    for workers, of in _by_workers(rows).items():
        mark = f"<!-- {name} {workers} -->\n"
        found = f"{mark}\n{_counted(of)}.\n\n{table(of, list(budgets), unit)}\n"
        text = re.sub(rf"{mark}(\n[^|\n].*\n\n(\|.*\n)+)?", lambda _, new=found: new, text)
    page.write_text(text)


def _by_workers(rows: Sequence[Row]) -> dict[int, list[Row]]:
    counts = dict.fromkeys(row.workers for row in rows)
    return {count: [row for row in rows if row.workers == count] for count in counts}


def _counted(rows: Sequence[Row]) -> str:
    tasks, seeds = ({row.task for row in rows}, {row.seed for row in rows})
    return f"{len(tasks)} data sets, {len(seeds)} seed{'s' * (len(seeds) > 1)} each"


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
    parser.add_argument("--page", type=Path)
    arguments = parser.parse_args()
    found = read_rows(arguments.files)
    print(report("P14", found, TARGETS))
    if arguments.page is not None:
        fill(arguments.page, "P14", found, TARGETS)
    if arguments.picture is not None:
        draw(found, arguments.picture)
