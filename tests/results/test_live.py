"""What the live views know, and how they look."""

from __future__ import annotations

import math
from typing import Any

import pytest

from explr.results.live.sweep import GpuMemoryTexts, SweepProgress
from explr.results.live.sweep_view import SHOWN
from explr.results.live.training import FIRST, TrainingProgress
from explr.results.table import lines_of
from explr.results.text import duration
from explr.tuning.trial import Job, Outcome
from explr.utils.gpu import GpuMemory


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def drawn(view: Any) -> list[str]:
    """The lines of a view."""
    return lines_of(view, 100)


def job(trial: int, replicate: int = 0, replicates: int = 1, **params: Any) -> Job:
    return Job(trial, replicate, replicates, 0, params)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sweep(clock: Clock) -> SweepProgress:
    return SweepProgress("multirun/s", ["val_loss"], [True], 10, slots=lambda: 2, clock=clock)


def test_a_sweep_is_drawn_with_its_counts_its_best_and_what_runs(
    sweep: SweepProgress, clock: Clock
) -> None:
    ends = [("COMPLETE", (0.5,)), ("COMPLETE", (0.25,)), ("PRUNED", ()), ("FAIL", ())]
    for trial, (state, values) in enumerate(ends):
        sweep.started(job(trial, lr=trial / 8))
        clock.now += 10
        reason = "by the training itself: hopeless" if state == "PRUNED" else ""
        sweep.ended(job(trial, lr=trial / 8), Outcome(state, values, reason))
    sweep.started(job(4, lr=0.75))
    sweep.started(job(5, lr=0.125))
    clock.now += 4
    sweep.reported(4, 3, 0.4321)
    lines = drawn(sweep)
    assert lines[0].endswith("  4/10 trials  0:44, about 0:26 left  multirun/s")
    assert lines[1] == "2 complete  1 pruned  1 failed  2 running on 2 workers"
    assert lines[2] == "best val_loss 0.25  trial 1  lr=0.125"
    assert lines[3] == "pruned trial 2 by the training itself: hopeless"
    assert lines[4].split() == ["trial", "step", "val_loss", "curve", "time", "lr"]
    assert lines[5].split() == ["4", "3", "0.4321", "▁", "0:04", "0.75"]
    assert lines[6].split() == ["5", "0:04", "0.125"]
    assert len(lines) == 7


def test_of_very_many_running_trials_some_are_drawn(sweep: SweepProgress) -> None:
    for trial in range(SHOWN + 3):
        sweep.started(job(trial, lr=1))
    assert drawn(sweep)[-1] == "and 3 more"


def test_the_best_is_the_largest_where_that_is_wanted_and_each_of_several(clock: Clock) -> None:
    sweep = SweepProgress("s", ["accuracy", "latency"], [False, True], math.inf, clock=clock)
    for trial, values in enumerate([(0.5, 3.0), (0.75, 2.0), (0.25, 1.0)]):
        sweep.started(job(trial, width=trial))
        sweep.ended(job(trial, width=trial), Outcome("COMPLETE", values))
    lines = drawn(sweep)
    assert lines[0].split() == ["3", "trials", "0:00", "s"]
    assert lines[2:] == [
        "best accuracy 0.75  trial 1  width=1",
        "best latency 1  trial 2  width=2",
    ]


def test_replicates_are_one_trial_whose_value_is_their_mean() -> None:
    sweep = SweepProgress("s", ["val_loss"], [True], 4, replicates=2)
    for trial, values in enumerate([(1.0, 2.0), (4.0, 0.0)]):
        for replicate in range(2):
            sweep.started(job(trial, replicate, 2))
        for replicate, value in enumerate(values):
            sweep.ended(job(trial, replicate, 2), Outcome("COMPLETE", (value,)))
    for replicate in range(2):
        sweep.started(job(2, replicate, 2))
    assert any(line.split()[0] == "2.1" for line in drawn(sweep))
    for replicate in range(2):
        sweep.ended(job(2, replicate, 2), Outcome("FAIL"))
    assert dict(sweep.counts) == {"COMPLETE": 2, "FAIL": 1}
    assert sweep.best[0] is not None
    assert (sweep.best[0].trial, sweep.best[0].value) == (0, 1.5)


def test_a_resumed_sweep_counts_what_it_knows(sweep: SweepProgress) -> None:
    sweep.known("COMPLETE", 3, (0.5,), {"lr": 0.25}, {0: 0.75, 1: 0.5})
    sweep.known("PRUNED", 4, (0.1,), {"lr": 0.5})
    lines = drawn(sweep)
    assert " 2/10 trials" in lines[0]
    assert "left" not in lines[0]  # nothing has ended since
    assert lines[2] == "best val_loss 0.5  trial 3  lr=0.25"
    sweep.started(job(5, lr=1))
    sweep.reported(5, 0, 0.875)
    assert sweep.ended(job(5, lr=1), Outcome("PRUNED", reason="by the tuner, at step 0")) == (
        0,
        0.875,
    )
    assert (
        drawn(sweep)[-1]
        == "pruned trial 5 by the tuner  val_loss 0.875 at step 0  best at that step 0.75"
    )


def test_a_trial_that_is_tried_again_begins_anew(sweep: SweepProgress) -> None:
    sweep.started(job(0, lr=1))
    sweep.reported(0, 5, 0.5)
    sweep.started(Job(0, 0, 1, 1, {"lr": 1}))
    assert drawn(sweep)[-1].split() == ["0", "0:00", "1"]
    sweep.changed(job(0, lr=2))
    assert drawn(sweep)[-1].split() == ["0", "0:00", "2"]
    sweep.reported(7, 0, 0.5)  # of one that has ended meanwhile
    assert len(drawn(sweep)) == 4


def test_secrets_are_not_drawn(sweep: SweepProgress) -> None:
    sweep.started(job(0, api_key="abcdef123456"))
    assert "abcdef123456" not in "\n".join(drawn(sweep))


def test_the_memory_of_gpus_is_drawn_where_there_are_some(
    sweep: SweepProgress, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def gpu_memory() -> list[GpuMemory | None]:
        asked.append(1)
        return [GpuMemory(used_gb=10.25, total_gb=31.8), None]

    monkeypatch.setattr("explr.results.live.sweep.gpu_memory", gpu_memory)
    monkeypatch.setattr("explr.results.live.sweep.EVERY_S", math.inf)
    sweep.gpu = GpuMemoryTexts()
    for _ in range(3):
        assert drawn(sweep)[1].endswith("0 running on 2 workers  GPU 0 10.2/32 GiB")
    assert len(asked) == 1  # the driver is not asked at each drawing


def test_where_there_is_no_gpu_nobody_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def gpu_memory() -> list[GpuMemory | None]:
        asked.append(1)
        return []

    monkeypatch.setattr("explr.results.live.sweep.gpu_memory", gpu_memory)
    monkeypatch.setattr("explr.results.live.sweep.EVERY_S", 0.0)
    texts = GpuMemoryTexts()
    assert [texts.read(), texts.read()] == [[], []]
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (61, "1:01"), (3600, "1:00:00"), (90061, "25:01:01")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_training_is_drawn_with_its_epoch_and_its_best(clock: Clock) -> None:
    training = TrainingProgress("val_loss", True, 20, clock)
    assert drawn(training)[0].startswith("begins ")
    for epoch, value in enumerate([0.5, math.nan, 0.25, 0.75]):
        clock.now += 2
        assert training.reported(epoch, value)
    (line,) = drawn(training)
    assert line.startswith("epoch 4/20 ")
    assert line.endswith("val_loss 0.75  ▅ ▁█  best 0.25 (epoch 3)  0:08  about 0:32 left")
    assert training.line() == "epoch 4/20  val_loss 0.75"


def test_steps_that_are_no_epochs_are_steps_of_which_not_each_has_a_line(clock: Clock) -> None:
    training = TrainingProgress("accuracy", False, 5, clock)
    lines = []
    for batch in range(100):
        clock.now += 0.125
        lines.append(training.reported(batch, batch / 100))
    assert all(lines[:FIRST])
    assert 0 < sum(lines[FIRST:]) <= 11
    assert drawn(training) == ["step 99  accuracy 0.99  ▁▂▃▃▄▅▆▆▇█  best 0.99 (step 99)  0:12"]
