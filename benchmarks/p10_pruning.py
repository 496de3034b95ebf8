"""P10: epochs that a search with pruning spends until it is as good as the same without.

The search: the bundled PyTorch example on the digits, 30 random configurations, 27 epochs, five
seeds; the widths are a quarter of those of `search_space=digits`. Each configuration was trained
once, to its end: `p10_pruning.py record` does so again, in some minutes. Here its curve is replayed
through explr's study, trial after trial, with each pruner as `conf/tuner/pruner` has it, and with
none: pruning decides which epochs are spent, and not what an epoch brings.

A search has matched when it has seen a validation loss within 1 % of the best that the whole search
without pruning sees. What it has spent by then is compared with all that the search without pruning
spends, and, beside it, with what that spends until it has matched itself.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from _pruners import pruner_option
from _timing import HERE, verdict
from optuna.pruners import BasePruner
from optuna.samplers import RandomSampler

from explr import TrainingContext
from explr.tracking.null import NullTracker
from explr.tuning.search_space import parse
from explr.tuning.study import Study

TRIALS, EPOCHS, SEEDS = 30, 27, range(5)
WITHIN, AT_MOST = 1.01, 1 / 3
PRUNERS = ("none", "median", "asha", "hyperband")
DEFAULT = "asha"
CURVES = HERE / "p10_curves.json"
SPACE, _ = parse(
    {
        "lr": "tag(log, interval(1e-4, 1e-1))",
        "batch_size": "choice(32, 64, 128)",
        "width": "choice(4, 8, 16)",
    }
)


def main() -> None:
    curves = json.loads(CURVES.read_text())
    spent: dict[str, list[float]] = {}
    for name in PRUNERS:
        # What Hyperband prunes depends on the trials' numbers and the study's name: fixed.
        spent[name] = [replay(seed, curves[str(seed)], pruner_option(name)) for seed in SEEDS]
    whole, alone = TRIALS * EPOCHS, median(spent.pop("none"))
    for name, epochs in spent.items():
        middle = median(epochs)
        unmatched = sum(map(math.isinf, epochs))
        print(
            f"P10 epochs with pruner {name}{' (default)' if name == DEFAULT else ''}: {middle:g}, "
            f"without {whole} ({alone:g} until matched), ratio {middle / whole:.2f} "
            f"({middle / alone:.2f}), not matched with {unmatched} of {len(epochs)} seeds, "
            f"target ≤ {AT_MOST:.2f}: {verdict(middle / whole <= AT_MOST)}",
            flush=True,
        )


def replay(seed: int, curves: list[list[float]], pruner: BasePruner | None) -> float:
    """Epochs spent until the search has matched; infinite if it never does."""
    goal = WITHIN * min(map(min, curves))
    spent = 0
    with tempfile.TemporaryDirectory() as folder:
        study = Study(Path(folder), f"bench-{seed}", ["minimize"])
        study.use(RandomSampler(seed=seed), pruner)
        for curve in curves:
            number, _ = study.ask(lambda values: SPACE)
            state = "COMPLETE"
            for epoch, value in enumerate(curve):
                spent += 1
                if value <= goal:
                    return spent
                if study.report(number, epoch, value):
                    state = "PRUNED"
                    break
            if state == "PRUNED":
                study.tell(number, "PRUNED")
            else:
                study.tell(number, "COMPLETE", [min(curve)])
    return math.inf


def record() -> None:
    """Train every configuration of every seed, and write down its validation losses."""
    jobs = []
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as folder:
            study = Study(Path(folder), "bench", ["minimize"])
            study.use(RandomSampler(seed=seed), None)
            jobs += [(seed, study.ask(lambda values: SPACE)[1]) for _ in range(TRIALS)]
    with multiprocessing.get_context("spawn").Pool() as pool:
        curves = pool.starmap(train, jobs, chunksize=1)
    by_seed = {s: [c for c, j in zip(curves, jobs, strict=True) if j[0] == s] for s in SEEDS}
    lines = ",\n".join(f'"{seed}": {json.dumps(found)}' for seed, found in by_seed.items())
    CURVES.write_text("{\n" + lines + "\n}\n")


def train(seed: int, params: dict[str, Any]) -> list[float]:
    """Train one configuration to its end; its validation losses, four digits each."""
    import torch

    from explr.examples.pytorch_example import train_model

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    losses = Losses()
    with tempfile.TemporaryDirectory() as folder:
        context = TrainingContext(
            {**params, "epochs": EPOCHS}, losses, "bench", device="cpu", output_dir=Path(folder)
        )
        context.checkpoints = Unsaved()  # type: ignore[assignment]
        train_model(context)
    return losses.values


class Losses(NullTracker):
    """Keeps the validation losses and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.values: list[float] = []

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """See `Tracker.log_metrics`."""
        self.values.append(float(f"{metrics['val_loss']:.4g}"))


class Unsaved:
    """Checkpoints of a training that is never resumed."""

    def save(self, state: Any, step: int) -> None:
        """Do nothing."""

    def load(self) -> None:
        """There is none."""


if __name__ == "__main__":
    record() if sys.argv[1:] == ["record"] else main()
