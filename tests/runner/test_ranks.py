"""Several processes that train one model: what each is given, and how they end as one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

import explr
from explr import TrainingContext, TrialPruned
from explr.core.errors import TrialPruned as Pruned
from explr.core.errors import UsageError
from explr.core.framework import registered
from explr.core.signals import Terminated
from explr.runner.prepare import check_ranks
from explr.runner.ranks.agreement import Agreement
from explr.runner.ranks.ends import End, RankDied, RankHung, verdict
from explr.runner.ranks.member import seed_of
from explr.sweep.executors.outcome import failed_outcome

GLOO = RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:1")


def test_the_others_get_the_answers_of_rank_0_in_their_order() -> None:
    agreement = Agreement()
    assert agreement.asked(1, 0) == []
    assert agreement.decided(False) == [(1, False)]
    assert agreement.decided(True) == []
    assert agreement.asked(2, 0) == [(2, False)]
    assert agreement.asked(1, 1) == [(1, True)]
    assert agreement.asked(2, 1) == [(2, True)]


def test_who_asks_after_the_end_of_rank_0_is_answered_by_how_it_ended() -> None:
    for pruned in (False, True):
        agreement = Agreement()
        agreement.asked(1, 0)
        assert agreement.left(pruned) == [(1, pruned)]
        assert agreement.asked(2, 4) == [(2, pruned)]


def test_the_value_is_that_of_rank_0() -> None:
    assert verdict([End(1), End(0, 0.5)], {}, [], {}) == 0.5


@pytest.mark.parametrize(
    ("ends", "died", "raised"),
    [
        ([End(0, error=GLOO)], {1: -9}, "rank 1 was killed by signal 9"),
        ([End(0, error=GLOO)], {1: 3}, "rank 1 exited with code 3"),
        ([End(0, error=GLOO), End(1, error=ValueError("cause"))], {}, "cause"),
        ([End(1, error=ValueError("first")), End(0, error=ValueError("second"))], {}, "first"),
        ([End(1, error=ValueError("cause")), End(0, error=Terminated())], {}, "cause"),
        ([End(0, error=Terminated()), End(1)], {}, "rank 0 was killed by signal 15"),
        ([End(0, error=Pruned("by the tuner"))], {1: -9}, "by the tuner"),
    ],
)
def test_what_made_the_others_fail_counts(
    ends: list[End], died: dict[int, int], raised: str
) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - each has its own class
        verdict(ends, died, [], {})
    assert str(caught.value) == raised


def test_a_rank_that_died_or_hung_is_one_whose_trial_is_retried() -> None:
    for error in (RankDied(1, -9), RankHung(1, 30, "train.py, line 3 in train")):
        outcome = failed_outcome(error)
        assert (outcome.state, outcome.died) == ("FAIL", True)
        assert "\n" not in outcome.reason


def test_each_rank_has_a_seed_of_its_own() -> None:
    assert seed_of(None, 3) is None
    seeds = [seed_of(42, rank) for rank in range(8)]
    assert seeds[0] == 42
    assert len({*seeds}) == 8
    assert seeds == [seed_of(42, rank) for rank in range(8)]


@pytest.mark.parametrize(
    ("framework", "device", "text"),
    [
        ("none", "cpu", "needs framework=pytorch"),
        ("tensorflow", "cpu", "needs framework=pytorch"),
        ("pytorch", "cuda:1", "gpu.device=cuda:1 names one"),
        ("pytorch", "cuda", "there are 0"),
    ],
)
def test_what_cannot_have_several_processes_is_told(
    framework: str, device: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(UsageError, match=text):
        check_ranks(2, registered(framework), device)
    check_ranks(1, registered(framework), device)


Train = Callable[[TrainingContext], Any]

WAYS = ("all", "first", "log")
"""Who reports: all ranks, rank 0 alone, or all by what they log."""


@pytest.fixture
def train_in_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Trains once in two processes on the CPU; none of them is left."""
    monkeypatch.chdir(tmp_path)

    def run(train: Train, *overrides: str) -> explr.TrainingResult:
        overrides = ("tracking=off", "gpu=cpu", "framework=pytorch", *overrides)
        cfg = explr.compose(["framework.processes=2", *overrides])
        before = psutil.Process().children(recursive=True)
        try:
            return explr.run(cfg, train_model=train, output_dir=tmp_path / "run")
        finally:
            left = {*psutil.Process().children(recursive=True)} - {*before}
            tracker = "multiprocessing.resource_tracker"  # Python's own, for what it spawns
            assert [one for one in left if tracker not in " ".join(one.cmdline())] == []

    return run


def result_in(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "run" / "result.json").read_text())
    return content


def summed(value: float) -> float:
    import torch
    from torch import distributed

    tensor = torch.tensor([float(value)])
    distributed.all_reduce(tensor)
    return float(tensor)


@pytest.mark.slow
def test_rank_0_alone_records_reports_and_saves(
    train_in_two: Callable[..., Any], tmp_path: Path
) -> None:
    def train(ctx: TrainingContext) -> float:
        (ctx.output_dir / f"saw-{ctx.rank}-{ctx.local_rank}-{ctx.world_size}").touch()
        print("printed by", ctx.rank)
        for epoch in range(2):
            ctx.report(epoch, val_loss=1 / (epoch + 1) + ctx.rank)
            assert not ctx.should_prune
            path = ctx.save_checkpoint({"rank": ctx.rank}, epoch)
        summed(1)
        loaded = ctx.load_checkpoint()
        assert loaded == (1, {"rank": 0}), loaded
        assert path.name == "step-000000001.pt"
        return 0.25 if ctx.rank == 0 else 7.0

    assert train_in_two(train).primary_metric == 0.25
    folder = tmp_path / "run"
    assert {path.name for path in folder.glob("saw-*")} == {"saw-0-0-2", "saw-1-1-2"}
    assert (folder / "output-1.log").read_text() == "printed by 1\n"
    assert result_in(tmp_path)["state"] == "COMPLETE"
    assert not (folder / "output-0.log").exists()


@pytest.mark.slow
def test_a_training_that_returns_nothing_has_the_value_that_rank_0_reported(
    train_in_two: Callable[..., Any],
) -> None:
    def train(ctx: TrainingContext) -> None:
        for epoch in range(3):
            ctx.tracker.log_metric("val_loss", epoch + 10 * ctx.rank, step=epoch)

    assert train_in_two(train).primary_metric == 2


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_an_exception_of_one_rank_is_that_of_the_training(
    train_in_two: Callable[..., Any], tmp_path: Path, rank: int
) -> None:
    def train(ctx: TrainingContext) -> float:
        if ctx.rank == rank:
            raise ValueError("no luck")
        return summed(1)

    with pytest.raises(ValueError, match="no luck") as caught:
        train_in_two(train)
    assert caught.value.__notes__[0].startswith(f"raised in rank {rank}")
    assert result_in(tmp_path)["reason"] == "ValueError: no luck"


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_is_killed_ends_the_training(
    train_in_two: Callable[..., Any], tmp_path: Path, rank: int
) -> None:
    def train(ctx: TrainingContext) -> float:
        if ctx.rank == rank:
            os.kill(os.getpid(), signal.SIGKILL)
        return summed(1)

    with pytest.raises(RankDied, match=f"^rank {rank} was killed by signal 9$"):
        train_in_two(train)
    assert result_in(tmp_path)["state"] == "FAIL"


@pytest.mark.slow
@pytest.mark.parametrize("waits", [True, False], ids=["others wait", "others end"])
def test_a_rank_that_hangs_ends_the_training(train_in_two: Callable[..., Any], waits: bool) -> None:
    def train(ctx: TrainingContext) -> float:
        if ctx.rank == 1:
            time.sleep(600)
        return summed(1) if waits else 1.0

    with pytest.raises(RankHung, match=r"waited 2 s for rank 1.* it stood at .*test_ranks\.py"):
        train_in_two(train, "framework.collective_timeout_s=2")


@pytest.mark.slow
def test_an_exit_and_memory_that_ran_out_end_as_in_one_process(
    train_in_two: Callable[..., Any],
) -> None:
    def leaves(ctx: TrainingContext) -> float:
        raise SystemExit(3)

    def runs_out(ctx: TrainingContext) -> float:
        if ctx.rank == 1:
            raise MemoryError
        return summed(1)

    with pytest.raises(SystemExit) as left:
        train_in_two(leaves)
    assert left.value.code == 3
    with pytest.raises(MemoryError) as caught:
        train_in_two(runs_out)
    assert failed_outcome(caught.value).out_of_memory


@pytest.mark.slow
def test_all_ranks_are_pruned_at_the_same_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(ctx: TrainingContext) -> float:
        hp = ctx.hyperparameters
        for epoch in range(4):
            value = hp.quality + 1 / (epoch + 1)
            (ctx.output_dir / f"{ctx.rank}-{epoch}").touch()
            if hp.way == "log":
                ctx.tracker.log_metric("val_loss", value, step=epoch)
                continue
            if hp.way == "all" or ctx.rank == 0:
                ctx.report(epoch, val_loss=value)
            if ctx.should_prune:
                raise TrialPruned
            summed(1)
        return float(hp.quality)

    monkeypatch.chdir(tmp_path)
    tries = ["{quality: 1, way: all}", *(f"{{quality: 2, way: {way}}}" for way in WAYS)]
    swept = explr.tune(
        [
            "tracking=off", "gpu=cpu", "framework=pytorch", "framework.processes=2",
            "tuner=optuna", "+quality=choice(1,2)", f"+way=choice({','.join(WAYS)})",
            "tuner/pruner=median", "tuner.pruner.n_startup_trials=1",
            "tuner.pruner.n_warmup_steps=1",
            "hydra.sweep.dir=sweep", f"tuner.enqueue=[{','.join(tries)}]",
        ],
        train,
        n_trials=4,
    )  # fmt: skip
    good, *bad = swept.trials
    assert (good["state"], good["steps"]) == ("COMPLETE", 4)
    for trial in bad:
        assert (trial["state"], trial["steps"]) == ("PRUNED", 2)
        assert trial["reason"] == "by the tuner"
        steps = {path.name for path in Path(trial["dir"]).glob("[01]-[0-9]")}
        assert steps == {f"{rank}-{epoch}" for rank in (0, 1) for epoch in (0, 1)}
    assert {trial["attempts"] for trial in swept.trials} == {1}


LISTENING = """
import multiprocessing
import os

import torch
from torch import distributed

import explr
from explr.tracking.shipping import start


def train(ctx):
    (ctx.output_dir / f"{type(multiprocessing.current_process()).__name__}-{ctx.rank}").touch()
    tensor = torch.tensor([1.0])
    distributed.all_reduce(tensor)
    return float(tensor)


ear, tell = os.pipe()
listener = start._Listener("here", ear)
start._listeners["here"] = listener
cfg = explr.compose(["framework.processes=2", "tracking=off", "gpu=cpu", "framework=pytorch"])
try:
    assert explr.run(cfg, train_model=train, output_dir="run").primary_metric == 2
    assert listener._thread.is_alive()
finally:
    os.close(tell)
    listener._thread.join()
"""


@pytest.mark.slow
def test_ranks_are_forked_while_the_companion_is_listened_to(tmp_path: Path) -> None:
    # In a process of its own: a thread that another test has left would forbid the fork.
    done = subprocess.run(
        [sys.executable, "-c", LISTENING],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {path.name[:-2] for path in (tmp_path / "run").glob("*Process-*")} == {"ForkProcess"}


@pytest.mark.slow
def test_ranks_are_spawned_where_this_process_has_threads(
    train_in_two: Callable[..., Any], tmp_path: Path
) -> None:
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()
    try:
        assert train_in_two(_spawned, "+quality=3").primary_metric == 3
    finally:
        done.set()
        other.join()
    assert (tmp_path / "run" / "spawned-1").exists()


def _spawned(ctx: TrainingContext) -> float:
    (ctx.output_dir / f"spawned-{ctx.rank}").touch()
    ctx.report(0, val_loss=summed(1))
    return float(ctx.hyperparameters.quality)
