from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from explr.core.checkpoint import Checkpoints
from explr.core.config import ExplrConfig
from explr.core.protocols import TrainingContext
from explr.frameworks.base import get_framework


class RecordingTracker:
    """Keeps the metrics that it is given."""

    def __init__(self) -> None:
        self.rows: list[tuple[int | None, dict[str, float]]] = []

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.rows.append((step, dict(metrics)))


class PruneAt:
    """A tuner that prunes when a step is reported."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.reported: list[tuple[int, float]] = []

    def report(self, step: int, value: float) -> None:
        self.reported.append((step, value))

    def missed(self, step: object, names: object) -> None:
        pass

    def should_prune(self) -> bool:
        return self.reported[-1][0] >= self.step


class MakeContext:
    """Builds contexts that write below one folder."""

    PruneAt = PruneAt

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(
        self, metric: str | None = None, direction: str = "minimize", **fields: Any
    ) -> TrainingContext:
        """A context; with a `metric`, it has a configuration with this objective."""
        if metric is not None:
            fields["config"] = config(metric, direction)
        return TrainingContext(
            hyperparameters={},
            tracker=RecordingTracker(),  # type: ignore[arg-type]
            trial_id="test",
            device="cpu",
            output_dir=self.folder,
            **fields,
        )

    def checkpoints(self, framework: str) -> Checkpoints:
        return Checkpoints(self.folder / "checkpoints", get_framework(framework).serializer)


def config(metric: str, direction: str) -> ExplrConfig:
    composed = {
        "experiment_name": "test",
        "seed": None,
        "train_model": "module:function",
        "objective": {"metric": metric, "direction": direction},
        "framework": {"name": "pytorch", "example": "module:function"},
        "tuner": {"name": "none"},
        "tracking": {"backend": "off"},
        "gpu": {},
    }
    return ExplrConfig.from_composed(composed)


@pytest.fixture
def make_context(tmp_path: Path) -> MakeContext:
    return MakeContext(tmp_path)
