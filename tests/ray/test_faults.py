"""What can happen to a sweep on Ray and its trials; named after the rows of the faults."""

from __future__ import annotations

import re
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from sweeping import Workshop, workers_of
from waiting import PATIENCE_S, runs, wait_until

from explr.core.errors import ExplrError
from explr.sweep.watch import SweepWatch
from explr.tracking.journal.lines import read_events
from explr.tuning.study import Study
from explr.tuning.trial import Job

pytestmark = pytest.mark.slow

NAMES = [
    "killed_in_an_epoch", "always_killed", "actor_killed", "exits", "prunes", "nan", "none",
    "string", "too_many", "reports_none", "reports_nan", "no_gpu_memory", "no_host_memory",
    "unpicklable",
]  # fmt: skip

MORE = f"""

def actor_killed(ctx):
    start = ctx.load_checkpoint()
    if start is None:
        ctx.report(0, val_loss=3.0)
        ctx.save_checkpoint({{"epoch": 0}}, step=0)
        with socket.socket(socket.AF_UNIX) as channel:
            channel.connect(json.loads(os.environ["EXPLR_CHANNEL"])["address"])
            peer = channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        os.kill(struct.unpack("3i", peer)[0], signal.SIGKILL)
        time.sleep(600)
    return float(start[0])


def reports_none(ctx):
    ctx.report(3, val_loss=None)


def reports_nan(ctx):
    ctx.report(3, val_loss=float("nan"))


def closed(lock):
    def train(ctx):
        with lock:
            return 1.0
    return train


import json
import socket
import struct
import threading
holds_a_lock = closed(threading.Lock())
FAULTS = [{", ".join(NAMES)}]
"""


def ray_sweep(shop: Workshop, training: str, *arguments: str, tracking: str = "off") -> list[str]:
    """A sweep on Ray, its study called `s`."""
    return shop.explr(
        f"train_model=trainings:{training}", f"tracking={tracking}", "tuner=ray",
        "tuner/sampler=random", "tuner/pruner=none", "tuner.study_name=s", "-m",
        "lr=interval(0,1)", *arguments,
    )  # fmt: skip


def workshop(folder: Path, template: Path) -> Workshop:
    shop = Workshop(folder, folder / "home", template)
    with (folder / "trainings.py").open("a") as file:
        file.write(MORE)
    return shop


@pytest.fixture
def shop(tmp_path: Path, template: Path) -> Iterator[Workshop]:
    shop = workshop(tmp_path, template)
    yield shop
    shop.close()


def of_ray(shop: Workshop) -> list[psutil.Process]:
    """Every process of Ray's, and of trials, that was started in the workshop's folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(shop.folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return [one for one in found if "companion" not in " ".join(line_of(one))]


def line_of(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.NoSuchProcess:
        return []


class Sweep:
    """One sweep in which each trial has a fault of its own, done."""

    def __init__(self, shop: Workshop) -> None:
        self.shop = shop
        self.temporary = shop.folder / "temporary"
        self.temporary.mkdir()
        self.done = shop.run(
            ray_sweep(
                shop, "faulty", f"tuner.n_trials={len(NAMES)}", "tuner.n_jobs=2", "gpu=cpu",
                "tuner.retries=2", tracking="mlflow",
            ),
            RAY_ADDRESS="192.0.2.1:6379",
            TMPDIR=str(self.temporary),
        )  # fmt: skip
        assert (shop.folder / "multirun" / "s" / "results.json").exists(), self.done
        self.trials = shop.results("multirun/s")["trials"]
        shop.sync()

    def trial(self, name: str) -> dict[str, Any]:
        trial = self.trials[NAMES.index(name)]
        assert isinstance(trial, dict)
        return trial

    def runs(self) -> dict[str, str]:
        """How MLflow says that the run of each trial ended."""
        with sqlite3.connect(Path(self.shop.environment["EXPLR_HOME"], "mlflow.db")) as store:
            found = store.execute(
                "select name, status from runs where run_uuid in (select run_uuid from tags "
                "where key = 'explr.kind' and value = 'trial')"
            ).fetchall()
        store.close()
        assert len(found) == len(NAMES)  # one each
        return {NAMES[int(name.split()[0])]: str(status) for name, status in found}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory, template: Path) -> Iterator[Sweep]:
    shop = workshop(tmp_path_factory.mktemp("faults"), template)
    yield Sweep(shop)
    shop.close()


def test_24_a_stray_address_is_no_cluster_to_join(sweep: Sweep) -> None:
    assert sweep.done.returncode == 0, sweep.done
    said = r"Ray: started on this machine, logs in \S+/ray/session_"
    assert re.search(said, sweep.done.stdout), sweep.done.stdout
    assert len(sweep.trials) == len(NAMES)


def test_no_process_of_rays_is_left(sweep: Sweep) -> None:
    wait_until(lambda: of_ray(sweep.shop) == [])


def test_no_folder_of_a_killed_actor_is_left(sweep: Sweep) -> None:
    assert [*sweep.temporary.glob("explr-*")] == []


def test_the_terminal_is_explrs(sweep: Sweep) -> None:
    assert "Traceback" not in sweep.done.stderr
    log, _, best = sweep.done.stdout.partition("\ntrial  val_loss")
    assert best
    lines = log.splitlines()
    # Of an actor that was killed Ray tells by itself.
    assert [line for line in lines if "][explr" not in line and "(raylet)" not in line] == []


def test_02_a_worker_killed_in_an_epoch_resumes_from_its_checkpoint(sweep: Sweep) -> None:
    trial = sweep.trial("killed_in_an_epoch")
    assert (trial["state"], trial["value"], trial["attempts"]) == ("COMPLETE", 0.25, 2)
    epochs = Path(trial["dir"], "epochs").read_text().split()
    assert epochs == ["0", "1", "2", "2", "3"]
    assert "trial 0: killed by signal 9, trying again" in sweep.done.stdout
    assert sweep.runs()["killed_in_an_epoch"] == "FINISHED"


def test_02_a_worker_that_always_dies_is_given_up(sweep: Sweep) -> None:
    trial = sweep.trial("always_killed")
    assert (trial["state"], trial["attempts"]) == ("FAIL", 3)
    assert trial["reason"] == "killed by signal 9"
    assert sweep.runs()["always_killed"] == "KILLED"


def test_23_a_killed_actor_costs_no_trial(sweep: Sweep) -> None:
    trial = sweep.trial("actor_killed")
    assert (trial["state"], trial["value"], trial["attempts"]) == ("COMPLETE", 0, 2)
    assert sweep.runs()["actor_killed"] == "FINISHED"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nan", "NaN"),
        ("none", "None"),
        ("string", "'0.5'"),
        ("too_many", "list"),
        ("reports_none", "train_model returned None"),
        ("reports_nan", "the objective is NaN at step 3"),
        ("no_gpu_memory", "out of memory"),
        ("no_host_memory", "out of memory"),
        ("unpicklable", "Odd: odd"),
        ("exits", "the training called exit(3)"),
    ],
)
def test_05_15_25_26_what_cannot_go_well_fails_with_the_reason(
    sweep: Sweep, name: str, words: str
) -> None:
    trial = sweep.trial(name)
    assert (trial["state"], trial["attempts"], trial["value"]) == ("FAIL", 1, None)
    assert words in trial["reason"]
    assert sweep.runs()[name] == "FAILED"


def test_04_a_trial_that_prunes_itself_is_pruned(sweep: Sweep) -> None:
    trial = sweep.trial("prunes")
    assert (trial["state"], trial["value"], trial["steps"]) == ("PRUNED", 0.75, 1)
    assert trial["reason"] == "by the training itself: hopeless"
    assert sweep.runs()["prunes"] == "FINISHED"


def test_22_what_cannot_be_pickled_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_ray: None
) -> None:
    import threading

    import explr
    from explr.core.errors import UsageError

    monkeypatch.chdir(tmp_path)
    my_lock = threading.Lock()

    def train(ctx: explr.TrainingContext) -> float:
        with my_lock:
            return 1.0

    with pytest.raises(UsageError, match=r"cannot be sent to other processes: my_lock in .*train"):
        explr.tune(["tuner=ray", "tracking=off", "lr=interval(0,1)"], train, n_trials=1)


def test_a_training_that_is_not_there(shop: Workshop) -> None:
    done = shop.run(ray_sweep(shop, "no_such", "tuner.n_trials=2"))
    assert done.returncode == 2
    assert "no_such" in done.stderr
    assert "Traceback" not in done.stderr
    wait_until(lambda: of_ray(shop) == [])


def test_17_the_second_ctrl_c_ends_it_at_once(shop: Workshop) -> None:
    driver = shop.start(ray_sweep(shop, "hangs", "tuner.n_trials=4", "tuner.n_jobs=2"))
    wait_until(lambda: shop.log().count(" starts") == 2)
    family = workers_of(driver.pid)
    driver.send_signal(signal.SIGINT)
    wait_until(lambda: "interrupted" in shop.log())  # two at once may be one to the kernel
    driver.send_signal(signal.SIGINT)
    assert driver.wait(PATIENCE_S) == 130
    wait_until(lambda: not any(runs(one) for one in family))
    wait_until(lambda: of_ray(shop) == [])
    assert "Traceback" not in shop.log()
    assert shop.states("multirun/s") == ["RUNNING"] * 2


@pytest.mark.parametrize("tuner", ["optuna", "ray"])
def test_27_an_error_in_a_tuners_callback_is_told_and_what_was_trained_is_kept(
    tuner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_ray: None
) -> None:
    """It is raised when the second trial starts: with Ray, in a callback of Tune's."""
    import explr

    started = SweepWatch.started

    def fails(self: SweepWatch, job: Job) -> None:
        if job.trial == 1:
            raise ExplrError("in a callback")  # any other is looked for in the line first
        started(self, job)

    def train(ctx: explr.TrainingContext) -> float:
        ctx.report(0, val_loss=0.5)
        return 0.5

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EXPLR_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(SweepWatch, "started", fails)
    monkeypatch.setattr("explr.tracking.run.ensure_companion", lambda *_, **__: None)
    line = [f"tuner={tuner}", "tuner.study_name=s", "tracking.drain_timeout_s=0"]
    line += ["hydra/launcher=basic"] if tuner == "optuna" else []
    with pytest.raises(ExplrError, match="in a callback"):
        explr.tune([*line, "lr=interval(0,1)"], train, n_trials=3)
    folder = tmp_path / "multirun" / "s"
    states = [trial.state.name for trial in Study(folder, "s", ["minimize"]).frozen()]
    assert states == ["COMPLETE", "RUNNING"]  # what was not trained is resumed
    for run, status in ((folder, "FAILED"), (folder / "0", "FINISHED")):
        (journal,) = run.glob("journal-*.jsonl")
        events = [read.event for read in read_events(journal)]
        assert (events[-1]["k"], events[-1]["status"]) == ("end", status)
    assert {"val_loss": 0.5} in [event.get("m") for event in events]


def test_27_a_folder_that_is_gone_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_ray: None
) -> None:
    """A sweep whose folder is gone can keep nothing: that is its end, not Ray's to swallow."""
    import explr

    def train(ctx: explr.TrainingContext) -> float:
        # At one blow, while Ray writes there.
        ctx.output_dir.parent.rename(ctx.output_dir.parent.with_name("gone"))
        return 1.0

    monkeypatch.chdir(tmp_path)
    with pytest.raises(ExplrError, match=r"study\.journal cannot be written: No such file"):
        explr.tune(["tuner=ray", "tracking=off", "lr=interval(0,1)"], train, n_trials=2)
