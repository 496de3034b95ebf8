"""Trials of several processes, under each tuner: all of their ends, and nothing is left of them."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from sweeping import Workshop
from waiting import PATIENCE_S, runs, wait_until

pytestmark = pytest.mark.slow

TRAINING = """\
import os
import signal
import time

import torch
from torch import distributed

from explr import TrialPruned


def summed(value):
    tensor = torch.tensor([float(value)])
    distributed.all_reduce(tensor)
    return float(tensor)


def train(ctx):
    (ctx.output_dir / f"pid-{os.getpid()}").touch()
    (ctx.output_dir / f"pid-{os.getppid()}").touch()
    way, rank = ctx.hyperparameters.way.split("_")
    mine = ctx.rank == int(rank)
    start = ctx.load_checkpoint()
    for epoch in range(start[0] + 1 if start else 0, 3):
        summed(1)
        ctx.report(epoch, val_loss=10.0 if way == "prune" else 1 / (epoch + 1))
        if ctx.should_prune:
            (ctx.output_dir / f"pruned-{ctx.rank}-{epoch}").touch()
            raise TrialPruned
        ctx.save_checkpoint({"epoch": epoch}, epoch)
        summed(1)
        if epoch == 1 and mine and start is None:
            if way == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if way == "memory":
                raise MemoryError
    return 0.25


def waits(ctx):
    (ctx.output_dir / f"pid-{os.getpid()}").touch()
    (ctx.output_dir / f"pid-{os.getppid()}").touch()
    try:
        (ctx.output_dir / f"waits-{ctx.rank}").touch()
        while True:
            time.sleep(0.01)  # a signal just before a long sleep would not end it
    except KeyboardInterrupt:
        (ctx.output_dir / f"told-{ctx.rank}").touch()
        raise
"""

ENDS = {
    "plain_0": ("COMPLETE", 1, ""),
    "kill_0": ("COMPLETE", 2, ""),
    "kill_1": ("COMPLETE", 2, ""),
    "memory_1": ("FAIL", 1, "out of memory"),
    "prune_0": ("PRUNED", 1, "by the tuner"),
}
"""State, attempts and reason of a trial, as of one with a single process."""


def pids_of(sweep: Path) -> set[int]:
    """The processes that a training has had."""
    return {int(path.name.removeprefix("pid-")) for path in sweep.glob("*/pid-*")}


def left_of(sweep: Path) -> list[int]:
    """Those of them that still run."""
    pids = pids_of(sweep)
    assert pids
    return list(filter(runs, pids))


@pytest.fixture
def command(shop: Workshop) -> Any:
    (shop.folder / "ranked.py").write_text(TRAINING)

    def made(tuner: str, training: str, *arguments: str) -> list[str]:
        return shop.explr(
            f"train_model=ranked:{training}", "framework=pytorch", "framework.processes=2",
            "gpu=cpu", "tracking=off", f"tuner={tuner}", *arguments,
        )  # fmt: skip

    return made


@pytest.mark.parametrize("tuner", ["optuna", "ray"])
def test_each_end_is_that_of_one_process(shop: Workshop, command: Any, tuner: str) -> None:
    tries = ",".join(f"{{way: {way}}}" for way in ENDS)
    done = shop.run(
        command(
            tuner, "train", "-m", f"+way=choice({','.join(ENDS)})", f"tuner.enqueue=[{tries}]",
            f"tuner.n_trials={len(ENDS)}", "tuner.study_name=s",
            "tuner/pruner=threshold", "tuner.pruner.upper=5",
        )
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    sweep = shop.folder / "multirun" / "s"
    for trial in shop.results("multirun/s")["trials"]:
        way = trial["params"]["way"]
        found = trial["state"], trial["attempts"], trial["reason"].partition(":")[0]
        assert found == ENDS[way], trial
        if way == "prune_0":
            pruned = {path.name for path in Path(trial["dir"]).glob("pruned-*")}
            assert pruned == {"pruned-0-0", "pruned-1-0"}
    wait_until(lambda: left_of(sweep) == [])


@pytest.mark.parametrize("tuner", ["optuna", "ray"])
def test_a_trial_that_lasts_too_long_ends_with_all_its_processes(
    shop: Workshop, command: Any, tuner: str
) -> None:
    done = shop.run(
        command(
            tuner, "waits", "-m", "lr=interval(0,1)", "tuner.n_trials=1", "tuner.study_name=s",
            "tuner.trial_timeout_s=6", "tuner.retries=0",
        )
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    (trial,) = shop.results("multirun/s")["trials"]
    assert (trial["state"], trial["reason"]) == ("FAIL", "timeout after 6 s")
    wait_until(lambda: not any(map(runs, pids_of(shop.folder / "multirun" / "s"))))


@pytest.mark.parametrize("tuner", ["none", "optuna", "ray"])
def test_ctrl_c_ends_all_processes(shop: Workshop, command: Any, tuner: str) -> None:
    if tuner == "none":
        more = ("hydra.run.dir=multirun/s/0",)
    else:
        more = ("-m", "lr=interval(0,1)", "tuner.n_trials=1", "tuner.study_name=s")
    started = shop.start(command(tuner, "waits", *more))
    folder = shop.folder / "multirun" / "s" / "0"
    wait_until(lambda: len(list(folder.glob("waits-*"))) == 2)
    started.send_signal(signal.SIGINT)
    assert started.wait(PATIENCE_S) == 130
    if tuner != "ray":  # Ray kills its actors, and with them the trials
        assert {path.name for path in folder.glob("told-*")} == {"told-0", "told-1"}
    wait_until(lambda: left_of(folder.parent) == [])


def test_the_processes_end_with_a_command_that_is_killed(shop: Workshop, command: Any) -> None:
    started = shop.start(command("none", "waits", "hydra.run.dir=multirun/s/0"))
    folder = shop.folder / "multirun" / "s" / "0"
    wait_until(lambda: len(list(folder.glob("waits-*"))) == 2)
    started.send_signal(signal.SIGKILL)
    started.wait(PATIENCE_S)
    wait_until(lambda: left_of(folder.parent) == [])
