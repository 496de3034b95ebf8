"""What can happen to a study and its storage; named after the rows of the faults."""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sweeping import BASIC, Workshop
from waiting import PATIENCE_S, wait_until

from explr.core.errors import ExplrError
from explr.tuning.channel import CHANNEL_VARIABLE, ChannelReporter, ChannelServer
from explr.tuning.search_space import SearchSpace, parse
from explr.tuning.storage.journal import STUDY_FILE, repair
from explr.tuning.study import Study


def space(**ranges: str) -> SearchSpace:
    return parse(ranges)[0]


def test_01_a_locked_database_is_waited_for(shop: Workshop) -> None:
    storage = f"sqlite:///{shop.folder}/study.db"
    command = shop.app(
        "lr=interval(0,1)", "hold=true", f"hydra.sweeper.storage='{storage}'",
        "hydra.sweeper.n_trials=2",
    )  # fmt: skip
    controller = shop.start(command)
    wait_until(lambda: [*shop.folder.glob("started-*")])
    holder = sqlite3.connect(shop.folder / "study.db", isolation_level=None, timeout=PATIENCE_S)
    holder.execute("BEGIN EXCLUSIVE")
    (shop.folder / "go").touch()
    time.sleep(8)  # longer than the five seconds that SQLite's own driver waits
    assert controller.poll() is None, shop.log()
    holder.execute("COMMIT")
    holder.close()
    assert controller.wait(PATIENCE_S) == 0, shop.log()
    assert shop.states() == ["COMPLETE"] * 2


def test_08_a_changed_choice_is_refused_and_a_wider_range_is_not(shop: Workshop) -> None:
    first = shop.run(
        shop.optuna("plain", BASIC, "lr=interval(0,1)", "width=choice(16,32)", "tuner.n_trials=2")
    )
    assert first.returncode == 0, first.stderr
    changed = shop.run(
        shop.optuna(
            "plain", BASIC, "lr=int(interval(0,9))", "width=choice(16,64)", "tuner.n_trials=4"
        )
    )
    assert changed.returncode == 2
    lines = changed.stderr.splitlines()
    assert [line.split()[0] for line in lines] == ["lr", "width"]
    assert "(16, 32)" in lines[1]
    assert "(16, 64)" in lines[1]
    assert "trial" not in changed.stdout
    assert len(shop.results("multirun/s")["trials"]) == 2
    wider = shop.run(
        shop.optuna("plain", BASIC, "lr=interval(5,6)", "width=choice(16,32)", "tuner.n_trials=4")
    )
    assert wider.returncode == 0, wider.stderr
    assert [trial["params"]["lr"] > 4 for trial in shop.results("multirun/s")["trials"]] == [
        False, False, True, True,
    ]  # fmt: skip


def test_09_another_direction_is_refused(shop: Workshop) -> None:
    command = shop.optuna("plain", BASIC, "lr=interval(0,1)", "tuner.n_trials=1")
    assert shop.run(command).returncode == 0
    done = shop.run([*command, "objective.direction=maximize", "tuner.n_trials=2"])
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "was started with objective.direction=minimize, not maximize" in line
    assert len(shop.results("multirun/s")["trials"]) == 1


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_10_a_torn_journal_is_repaired(
    tmp_path: Path, cut: int, caplog: pytest.LogCaptureFixture
) -> None:
    study = Study(tmp_path, "s", ["minimize"])
    for value in (1.0, 2.0, 3.0):
        number, _ = study.ask(lambda values: space(lr="interval(0,1)"))
        study.report(number, 0, value)
        study.tell(number, "COMPLETE", [value])
    file = tmp_path / STUDY_FILE
    whole = file.read_bytes()
    file.write_bytes(whole[:-cut])
    again = Study(tmp_path, "s", ["minimize"])
    assert [trial.values for trial in again.frozen()][:2] == [[1.0], [2.0]]
    assert f"{file} ended in a torn line" in caplog.text
    assert (tmp_path / f"{STUDY_FILE}.torn").read_bytes() == whole[:-cut]
    ((number, values),) = again.unfinished(lambda values: space(lr="interval(0,1)"))
    again.tell(number, "COMPLETE", [3.0])
    assert number == 2
    assert values
    assert [line for line in file.read_bytes().splitlines() if line] != []


def test_10_an_intact_journal_is_left_alone(tmp_path: Path) -> None:
    Study(tmp_path, "s", ["minimize"]).ask(lambda values: space(lr="interval(0,1)"))
    before = (tmp_path / STUDY_FILE).stat()
    repair(tmp_path / STUDY_FILE)
    assert (tmp_path / STUDY_FILE).stat().st_mtime_ns == before.st_mtime_ns
    assert [*tmp_path.glob("*.torn")] == []


def test_a_controller_killed_between_two_parameters_of_a_trial(tmp_path: Path) -> None:
    study = Study(tmp_path, "s", ["minimize"])
    study.ask(lambda values: space(lr="interval(0,1)"))
    again = Study(tmp_path, "s", ["minimize"])
    both = space(lr="interval(0,1)", width="choice(16,32)")
    ((number, values),) = again.unfinished(lambda values: both)
    assert values["width"] in (16, 32)
    assert again.frozen()[number].params == values


def test_12_one_database_for_optuna_and_mlflow_is_refused(shop: Workshop) -> None:
    home = shop.environment["EXPLR_HOME"]
    for arguments, environment in (
        ([f"tuner.storage='sqlite:///{home}/mlflow.db'"], {}),
        (["tuner.storage='sqlite:///mine.db'", "tracking.uri='sqlite:///mine.db'"], {}),
    ):
        done = shop.run(
            shop.explr("tuner=optuna", "train_model=trainings:plain", "-m", "lr=interval(0,1)",
                       "tuner.n_trials=1", *arguments),
            **environment,
        )  # fmt: skip
        assert done.returncode == 2, done.stderr
        (line,) = done.stderr.splitlines()
        assert "is the database that MLflow's runs go to" in line
    assert not (shop.folder / "mine.db").exists()
    assert not (shop.folder / "multirun").exists()


@pytest.mark.slow
def test_20_a_file_that_cannot_grow_keeps_what_it_has(tmp_path: Path) -> None:
    script = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from explr.tuning.search_space import parse\n"
        "from explr.tuning.study import Study\n"
        "study = Study(Path(sys.argv[1]), 's', ['minimize'])\n"
        "space, _ = parse({'lr': 'interval(0,1)'})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "while True:\n"
        "    number, _ = study.ask(lambda values: space)\n"
        "    study.tell(number, 'COMPLETE', [1.0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path], capture_output=True, text=True, timeout=PATIENCE_S
    )
    file = tmp_path / STUDY_FILE
    last = done.stderr.splitlines()[-1]
    assert last.endswith(f"ExplrError: {file} cannot be written: File too large")
    content = file.read_bytes()
    assert 19_000 < len(content) <= 20_000
    assert content.endswith(b"\n")
    assert not [*tmp_path.glob("*.torn")]
    known = Study(tmp_path, "s", ["minimize"]).frozen()
    assert len(known) > 10
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 20_000


def ask_for_ever(study: Study) -> None:
    while True:
        study.ask(lambda values: space(lr="interval(0,1)"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("mounting needs root")
    made = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=128k", "tmpfs", folder], capture_output=True
    )
    if made.returncode != 0:
        pytest.skip(f"cannot mount: {made.stderr.decode()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_20_a_full_disk_ends_the_sweep_in_a_sentence(shop: Workshop, small_disk: Path) -> None:
    command = shop.app("lr=interval(0,1)", "hydra.sweeper.n_trials=400", "steps=0")
    done = shop.run([*command, f"hydra.sweep.dir={small_disk}/sweep"])
    assert done.returncode == 1
    assert f"no space left at {small_disk}/sweep" in done.stderr.splitlines()[-1]
    study = Study(small_disk / "sweep", "s", ["minimize"])
    assert len(study.frozen()) > 1


SAVES = """\
def train(ctx):
    ctx.save_checkpoint(bytes(1000), step=0)
    try:
        ctx.save_checkpoint(bytes(ctx.trial_number % 2 * 2**22), step=1)
    finally:
        (ctx.output_dir / "kept").write_text(str(ctx.load_checkpoint()[0]))
    return 0.5
"""


def test_20_a_checkpoint_on_a_full_disk(shop: Workshop, small_disk: Path) -> None:
    """The trial says so, its last good checkpoint stays, and so does the study."""
    subprocess.run(["mount", "-o", "remount,size=2m", small_disk], check=True)
    (shop.folder / "saves.py").write_text(SAVES)
    line = shop.optuna("plain", BASIC, "lr=interval(0,1)", "tuner.n_trials=3")
    done = shop.run([*line, "train_model=saves:train", f"hydra.sweep.dir={small_disk}/s"])
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    trials = json.loads((small_disk / "s" / "results.json").read_text())["trials"]
    assert [trial["state"] for trial in trials] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert [Path(trial["dir"], "kept").read_text() for trial in trials] == ["1", "0", "1"]
    place = small_disk / "s" / "1" / "checkpoints"
    assert trials[1]["reason"] == f"no space left at {place}/step-000000001.pkl: it is not saved"
    assert [file.name for file in place.glob("step-*.pkl")] == ["step-000000000.pkl"]
    assert not [*place.glob(".writing-*")]
    known = [trial.state.name for trial in Study(small_disk / "s", "s", ["minimize"]).frozen()]
    assert known == ["COMPLETE", "FAIL", "COMPLETE"]


@pytest.mark.slow
def test_20_a_study_that_cannot_grow_says_so(tmp_path: Path, small_disk: Path) -> None:
    study = Study(small_disk, "s", ["minimize"])
    with pytest.raises(ExplrError, match=f"no space left at {small_disk}"):
        ask_for_ever(study)
    shutil.copy(small_disk / STUDY_FILE, tmp_path)
    assert len(Study(tmp_path, "s", ["minimize"]).frozen()) > 10


def test_11_two_folders_with_the_same_study_in_a_database(shop: Workshop) -> None:
    command = shop.app(
        "lr=interval(0,1)", "hold=true", "hydra.sweeper.storage='sqlite:///study.db'",
        "hydra.sweeper.study_name=mine", "hydra.sweeper.n_trials=1",
    )  # fmt: skip
    first = shop.start(command)
    wait_until(lambda: [*shop.folder.glob("started-*")])
    second = shop.run([*command, "hydra.sweep.dir=other"])
    assert second.returncode == 1
    assert f"the study mine in sqlite:///study.db is run by process {first.pid}" in second.stderr
    (shop.folder / "go").touch()
    assert first.wait(PATIENCE_S) == 0
    assert shop.states() == ["COMPLETE"]


def test_a_plan_leaves_no_trace_in_a_database(shop: Workshop) -> None:
    done = shop.run(
        shop.explr("plan", "train_model=trainings:plain", "tuner=optuna", "-m", "lr=interval(0,1)",
                   "tuner.storage='sqlite:///study.db'", "tracking=off")
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("lr=") == 5
    assert not (shop.folder / "study.db").exists()
    assert not (shop.folder / "multirun").exists()


def test_a_stranger_that_says_nothing_holds_up_no_report(tmp_path: Path) -> None:
    server = ChannelServer(lambda job, step, value: step > 1, "127.0.0.1")
    try:
        order = server.variable(1)[CHANNEL_VARIABLE]
        with socket.create_connection(tuple(json.loads(order)["address"])):
            reporter = ChannelReporter(order)
            reporter.report(2, 0.5)
            assert reporter.should_prune()
    finally:
        server.close()


@pytest.mark.slow
def test_an_emptied_study_is_not_begun_again(shop: Workshop) -> None:
    command = shop.optuna("plain", BASIC, "lr=interval(0,1)", "tuner.n_trials=1")
    assert shop.run(command).returncode == 0
    sweep = shop.folder / "multirun" / "s"
    results = (sweep / "results.json").read_bytes()
    (sweep / STUDY_FILE).write_bytes(b"")
    for line in ([*command, "tuner.n_trials=2"], shop.explr("resume", "multirun/s")):
        done = shop.run(line)
        assert done.returncode == 2, done.stderr
        (said,) = done.stderr.splitlines()
        assert "study.journal is damaged" in said
    assert (sweep / STUDY_FILE).read_bytes() == b""
    assert (sweep / "results.json").read_bytes() == results
