"""Tasks of Ray that a training starts: they record in its run."""

from pathlib import Path
from typing import Any

import pytest

import explr
from explr import TrainingContext
from explr.runner.experiment import run_training
from explr.tracking.journal.journal import journals_in
from explr.tracking.journal.lines import read_events
from explr.tracking.run import TrackedRun

pytestmark = pytest.mark.slow


def test_tasks_of_a_training_record(
    own_ray: None, elsewhere: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    monkeypatch.setenv("EXPLR_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(TrackedRun, "keep_shipping", lambda run: None)

    def record(ctx: TrainingContext, step: int) -> None:
        ctx.tracker.log_metric("seen", 1.0, step=step)
        ctx.report(step, val_loss=0.5)
        ctx.tracker.log_text("hello", f"text-{step}.txt")

    class Actor:
        def __init__(self, ctx: TrainingContext) -> None:
            self.ctx = ctx

        def record(self, step: int) -> None:
            record(self.ctx, step)

    def training(ctx: TrainingContext) -> float:
        task: Any = ray.remote(record)
        actor: Any = ray.remote(Actor).remote(ctx)
        ray.get([task.remote(ctx, 0), actor.record.remote(1), actor.record.remote(2)])
        return 0.5

    run_training(explr.compose(), tmp_path / "run", train_model=training)
    (journal,) = journals_in(tmp_path / "run")
    events = [event for event, _ in read_events(journal)]
    for name in ("seen", "val_loss"):
        rows = [e["s"] for e in events if e["k"] == "metrics" and list(e["m"]) == [name]]
        assert sorted(rows) == [0, 1, 2]
    files = {event["f"] for event in events if event["k"] == "artifact"}
    assert {f"artifacts/text-{step}.txt" for step in range(3)} <= files
