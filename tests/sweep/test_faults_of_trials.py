"""What can happen to a trial, each in a sweep that goes on; named after the rows of the faults."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sweeping import Workshop
from waiting import PATIENCE_S, runs, wait_until

pytestmark = pytest.mark.slow

NAMES = [
    "killed_in_an_epoch", "killed_in_a_save", "always_killed", "asked_to_end", "exits", "prunes",
    "nan", "none", "string", "too_many", "no_gpu_memory", "no_host_memory", "no_space",
    "unpicklable", "data_loader",
]  # fmt: skip


class Sweep:
    """One sweep in which each trial has a fault of its own, done."""

    def __init__(self, shop: Workshop) -> None:
        self.done = shop.run(
            shop.explr(
                "train_model=trainings:faulty", "tuner=optuna", "tuner/pruner=none", "-m",
                "lr=interval(0,1)", f"tuner.n_trials={len(NAMES)}", "tuner.n_jobs=2",
                "tuner.study_name=s", "tuner.retries=2", "gpu=cpu", "tracking.drain_timeout_s=0",
            )
        )  # fmt: skip
        self.home = Path(shop.environment["EXPLR_HOME"])
        self.folder = shop.folder / "multirun" / "s"
        assert (self.folder / "results.json").exists(), self.done
        self.trials = shop.results("multirun/s")["trials"]
        shop.sync()

    def trial(self, name: str) -> dict[str, Any]:
        trial = self.trials[NAMES.index(name)]
        assert isinstance(trial, dict)
        return trial

    def file(self, name: str, file: str) -> Path:
        return Path(self.trial(name)["dir"], file)

    def status(self, name: str) -> str:
        """How MLflow says that the run of a trial ended."""
        with sqlite3.connect(self.home / "mlflow.db") as store:
            (found,) = store.execute(
                "select status from runs where name like ? and run_uuid in "
                "(select run_uuid from tags where key = 'explr.kind' and value = 'trial')",
                (f"{NAMES.index(name)} %",),
            ).fetchall()
        store.close()
        return str(found[0])


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory, template: Path) -> Iterator[Sweep]:
    folder = tmp_path_factory.mktemp("faults")
    shop = Workshop(folder, folder / "home", template)
    yield Sweep(shop)
    shop.close()


def test_the_sweep_reaches_its_end(sweep: Sweep) -> None:
    assert sweep.done.returncode == 0, sweep.done
    assert len(sweep.trials) == len(NAMES)


def test_02_a_worker_killed_in_an_epoch_resumes_from_its_checkpoint(sweep: Sweep) -> None:
    trial = sweep.trial("killed_in_an_epoch")
    assert (trial["state"], trial["value"], trial["attempts"]) == ("COMPLETE", 0.25, 2)
    assert trial["steps"] == 4
    epochs = sweep.file("killed_in_an_epoch", "epochs").read_text().split()
    assert epochs == ["0", "1", "2", "2", "3"]  # the one that it was killed in, and no other
    assert sweep.status("killed_in_an_epoch") == "FINISHED"


def test_02_a_worker_that_always_dies_is_given_up(sweep: Sweep) -> None:
    trial = sweep.trial("always_killed")
    assert (trial["state"], trial["attempts"]) == ("FAIL", 3)
    assert trial["reason"] == "killed by signal 9"
    assert sweep.status("always_killed") == "KILLED"


def test_each_kind_of_failure_is_named(sweep: Sweep) -> None:
    kinds = {
        name: trial["failure"]
        for name, trial in zip(NAMES, sweep.trials, strict=True)
        if trial["state"] == "FAIL"
    }
    assert kinds == {
        "always_killed": "killed", "exits": "error", "nan": "diverged", "none": "invalid result",
        "string": "invalid result", "too_many": "invalid result",
        "no_gpu_memory": "out of memory", "no_host_memory": "out of memory",
        "no_space": "disk full", "unpicklable": "error",
    }  # fmt: skip
    assert "10 failed: 3 invalid result, 2 error, 2 out of memory" in sweep.done.stdout
    assert sweep.trial("no_space")["attempts"] == 3


def test_02_a_worker_that_somebody_ends_is_tried_again(sweep: Sweep) -> None:
    trial = sweep.trial("asked_to_end")
    assert (trial["state"], trial["value"], trial["attempts"]) == ("COMPLETE", 0.5, 2)
    assert sweep.status("asked_to_end") == "FINISHED"


def test_04_a_trial_that_prunes_itself_is_pruned(sweep: Sweep) -> None:
    trial = sweep.trial("prunes")
    assert (trial["state"], trial["value"], trial["steps"]) == ("PRUNED", 0.75, 1)
    assert trial["reason"] == "by the training itself: hopeless"
    assert sweep.status("prunes") == "FINISHED"


@pytest.mark.parametrize(
    ("name", "word"),
    [("nan", "NaN"), ("none", "None"), ("string", "'0.5'"), ("too_many", "list")],
)
def test_05_what_is_no_objective_fails_with_the_reason(sweep: Sweep, name: str, word: str) -> None:
    trial = sweep.trial(name)
    assert trial["state"] == "FAIL"
    assert word in trial["reason"]
    assert trial["value"] is None
    assert sweep.status(name) == "FAILED"


@pytest.mark.parametrize("name", ["no_gpu_memory", "no_host_memory"])
def test_15_out_of_memory_fails_one_trial(sweep: Sweep, name: str) -> None:
    trial = sweep.trial(name)
    assert (trial["state"], trial["attempts"]) == ("FAIL", 1)
    assert trial["reason"].startswith("out of memory")
    assert name in sweep.file(name, "traceback.txt").read_text()
    assert sweep.status(name) == "FAILED"


def test_16_data_loaders_may_have_workers(sweep: Sweep) -> None:
    trial = sweep.trial("data_loader")
    assert (trial["state"], trial["value"]) == ("COMPLETE", 28)


def test_19_a_broken_checkpoint_gives_way_to_the_one_before(sweep: Sweep) -> None:
    trial = sweep.trial("killed_in_a_save")
    assert (trial["state"], trial["value"], trial["attempts"]) == ("COMPLETE", 7, 2)


def test_20_a_full_disk_in_a_trial_is_said(sweep: Sweep) -> None:
    trial = sweep.trial("no_space")
    assert trial["state"] == "FAIL"
    assert trial["reason"].startswith("no space left at /")


def test_an_exception_that_cannot_travel_is_told_all_the_same(sweep: Sweep) -> None:
    assert sweep.trial("unpicklable")["state"] == "FAIL"
    assert sweep.trial("unpicklable")["reason"] == "Odd: odd"


def test_a_training_that_exits_has_failed(sweep: Sweep) -> None:
    trial = sweep.trial("exits")
    assert (trial["state"], trial["reason"]) == ("FAIL", "the training called exit(3)")


def test_what_a_trial_prints_is_in_its_folder(sweep: Sweep) -> None:
    for name in NAMES:
        assert sweep.file(name, "output.log").exists()


def test_06_every_trial_fails(shop: Workshop) -> None:
    done = shop.run(
        shop.optuna("boom", "lr=interval(0,1)", "tuner.n_trials=3", "tuner.n_jobs=2")
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "every trial failed, the first with this"
    assert done.stderr.count("Traceback") == 1
    assert "3 trials: 3 fail" in done.stdout
    assert shop.states("multirun/s") == ["FAIL"] * 3


def test_07_a_worker_that_is_stopped_for_long_is_no_dead_worker(shop: Workshop) -> None:
    command = shop.app("lr=interval(0,1)", "hold=true", "hydra.sweeper.n_trials=2")
    controller = shop.start([*command, "hydra.sweeper.n_jobs=2"])
    wait_until(lambda: len(list(shop.folder.glob("started-*"))) == 2)
    pids = [int(path.name.partition("-")[2]) for path in shop.folder.glob("started-*")]
    os.kill(pids[0], signal.SIGSTOP)
    (shop.folder / "go").touch()
    wait_until(lambda: not runs(pids[1]))
    assert controller.poll() is None
    assert runs(pids[0])
    os.kill(pids[0], signal.SIGCONT)
    assert controller.wait(PATIENCE_S) == 0
    assert shop.states() == ["COMPLETE"] * 2
    assert {trial["attempts"] for trial in shop.results()["trials"]} == {1}


def test_21_a_trial_that_hangs_is_ended(shop: Workshop) -> None:
    (shop.folder / "hasty.py").write_text(
        "import explr.tuning.loop\nfrom explr.runner.cli.main import main\n\n"
        "explr.tuning.loop.STOP_GRACE_S = 0.2\nmain()\n"
    )
    line = shop.optuna(
        "hangs", "lr=interval(0,1)", "tuner.n_trials=1", "tuner.trial_timeout_s=2"
    )  # fmt: skip
    done = shop.run([line[0], "hasty.py", *line[3:]])
    assert done.returncode == 1
    (trial,) = shop.results("multirun/s")["trials"]
    assert (trial["state"], trial["reason"]) == ("FAIL", "timeout after 2 s")
    assert trial["attempts"] == 1
