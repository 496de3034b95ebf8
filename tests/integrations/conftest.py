"""Runs sweeps and trainings in the test process, so that a library is imported only once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import explr
from explr.core.numbers import readable
from explr.core.protocols import TrainFunction, TrainingContext


class Rows:
    """Keeps what is reported, the rows that a run would have."""

    def __init__(self) -> None:
        self.rows: list[tuple[int | None, dict[str, float]]] = []

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        self.rows.append((step, readable(metrics)))

    def of(self, name: str) -> dict[int | None, float]:
        """The values of a metric by step; each step has one."""
        found = [(step, metrics[name]) for step, metrics in self.rows if name in metrics]
        assert len(dict(found)) == len(found)
        return dict(found)


Settings = list[str]
SETTINGS = ["tracking=off", "gpu=cpu"]


@pytest.fixture
def run_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[explr.TrainingResult, Rows]]:
    """Trains once outside of a sweep."""
    monkeypatch.chdir(tmp_path)

    def run(train_model: TrainFunction, *overrides: str) -> tuple[explr.TrainingResult, Rows]:
        rows = Rows()

        def recorded(ctx: TrainingContext) -> Any:
            return train_model(replace(ctx, recorder=rows))  # type: ignore[arg-type]

        cfg = explr.compose([*SETTINGS, *overrides])
        return explr.run(cfg, train_model=recorded, output_dir=tmp_path / "run"), rows

    return run


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """Tries a good and a bad value of `quality`; the bad one is pruned at its first report."""
    monkeypatch.chdir(tmp_path)

    def tune(train_model: TrainFunction, *overrides: str) -> list[dict[str, Any]]:
        found = explr.tune(
            [
                *SETTINGS,
                *overrides,
                "+quality=choice(0,1)",
                "tuner/sampler=grid",
                "tuner/pruner=threshold",
                "tuner.pruner.upper=100",
                "hydra/launcher=basic",
            ],
            train_model=train_model,
            n_trials=2,
        )
        return sorted(found.trials, key=lambda trial: -trial["params"]["quality"])

    return tune
