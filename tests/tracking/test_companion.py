import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from explr.tracking.destination import Destination
from explr.tracking.home import local_store_uri
from explr.tracking.journal.lines import read_events
from explr.tracking.journal.pending import Liveness, entries
from explr.tracking.mlflow.store import FOR_MODELS
from explr.tracking.run import open_run
from explr.tracking.shipping import start
from explr.tracking.shipping.companion import follow
from explr.tracking.shipping.start import Order, ensure_companion, has_companion, not_listening

WRITER = """
import os, pathlib, sys
from explr.tracking.destination import Destination
from explr.tracking.run import open_run
folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True)
run = open_run(folder, Destination(companion=False), experiment="digits", name=folder.name,
               params={}, tags={})
for i in range(10):
    run.tracker.log_metric("loss", i, step=i)
os.kill(os.getpid(), 9)
"""
ORPHAN = """
import os, pathlib, sys, time
from explr.tracking.destination import Destination
from explr.tracking.run import open_run
folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True)
run = open_run(folder, Destination(), experiment="digits", name=folder.name, params={}, tags={})
for i in range(200):
    run.tracker.log_metric("loss", i, step=i)
print("logged", flush=True)
time.sleep(600)
"""
FORKER = """
import os, pathlib, sys
from explr.tracking.destination import Destination
from explr.tracking.run import open_run
folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True)
run = open_run(folder, Destination(companion=False), experiment="digits", name=folder.name,
               params={}, tags={})
if (pid := os.fork()) == 0:
    run.tracker.log_metric("forked", 1.0)
    run.close("FAILED")
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
run.tracker.log_metric("loss", 1.0)
run.close("FINISHED")
"""


def write_and_die(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", WRITER, folder], check=False)
    assert done.returncode == -signal.SIGKILL


def test_the_run_of_a_killed_process_ends_killed(store: Any, kit: Any, tmp_path: Path) -> None:
    write_and_die(tmp_path / "run")
    experiment = store.client.create_experiment("another's")
    others = [
        store.client.create_run(experiment, tags=tags, run_name="other").info.run_id
        for tags in ({}, {"explr.run": "of another machine, with a journal there"})
    ]
    kit.ship()
    assert {store.client.get_run(other).info.status for other in others} == {"RUNNING"}
    run = store.run("run")
    assert run.info.status == "KILLED"
    assert run.info.end_time >= run.info.start_time
    assert len(store.rows(run, "loss")) == 10
    assert entries() == []


@pytest.mark.parametrize("kind", ["folder", "rubbish"])
def test_a_store_that_cannot_be_opened_is_told_beside_every_journal(
    kit: Any, home: Path, tmp_path: Path, kind: str
) -> None:
    path = home / "other.db"
    path.mkdir() if kind == "folder" else path.write_bytes(b"rubbish" * 1000)
    reason = "unable to open database file" if kind == "folder" else "file is not a database"
    uri = f"sqlite:///{path}"
    runs = [kit.begin(tmp_path / str(i), uri) for i in range(3)]
    kit.ship(uri)
    for run in runs:
        assert run.position.error == f"the MLflow store {path} cannot be used: {reason}"


def test_a_file_system_without_locks(
    store: Any, kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr("explr.utils.lock._can_lock", {})
    run = kit.begin(tmp_path / "run")
    run.tracker.log_table({"a": [1]}, "table.json")
    run.close("FINISHED")
    kit.ship()
    assert store.status() == "FINISHED"
    assert "table.json" in store.artifacts(store.run())
    assert entries() == []


@pytest.mark.slow
def test_a_killed_companion_is_replaced_at_the_end(
    store: Any, kit: Any, home: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    destination = Destination(drain_timeout_s=kit.patience_s)
    run = open_run(folder, destination, experiment="digits", name="x", params={}, tags={})
    run.tracker.log_metric("loss", 1.0)
    # A process that becomes another program has no command line for a moment.
    (companion,) = kit.eventually(lambda: kit.companions_of(home))
    companion.kill()
    kit.eventually(lambda: not has_companion(store.uri))
    run.tracker.log_metric("loss", 2.0, step=1)
    run.close("FINISHED")
    assert run.drain() == 0
    assert store.rows(store.run(), "loss") == [(0, 1.0), (1, 2.0)]


@pytest.mark.slow
def test_the_dead_are_shipped_by_a_companion_that_then_ends(
    store: Any, kit: Any, home: Path, tmp_path: Path
) -> None:
    """The training and its companion follow each other: nothing runs on for ever."""
    trainer = subprocess.Popen(
        [sys.executable, "-c", ORPHAN, tmp_path / "run"], stdout=subprocess.PIPE, text=True
    )
    assert trainer.stdout is not None
    with trainer, trainer.stdout:
        assert trainer.stdout.readline() == "logged\n"
        trainer.kill()
    kit.eventually(lambda: not entries())
    assert store.status() == "KILLED"
    assert len(store.rows(store.run(), "loss")) == 200
    kit.eventually(lambda: not kit.companions_of(home))


@pytest.mark.slow
def test_one_companion_ships_and_the_others_stand_by(
    store: Any, kit: Any, home: Path, tmp_path: Path
) -> None:
    trainers = [
        subprocess.Popen(
            [sys.executable, "-c", ORPHAN, tmp_path / name], stdout=subprocess.PIPE, text=True
        )
        for name in ("first", "second")
    ]
    for trainer in trainers:
        assert trainer.stdout is not None
        assert trainer.stdout.readline() == "logged\n"
    kit.eventually(lambda: len(store.runs()) == 2)
    ships = kit.eventually(
        lambda: [p for p in kit.companions_of(home) if p.memory_info().rss > 80 * 2**20]
    )
    assert len(kit.companions_of(home)) == 2
    assert len(ships) == 1
    mapped = {part for each in ships[0].memory_maps() for part in Path(each.path).parts}
    assert "sqlalchemy" in mapped
    assert not mapped & set(FOR_MODELS)  # nothing of MLflow's that an upload does not need
    ships[0].kill()  # the other one takes over, wherever this one stood
    for trainer in trainers:
        trainer.kill()
        with trainer:
            pass
    kit.eventually(lambda: not entries())
    for name in ("first", "second"):
        assert store.status(name) == "KILLED"
        assert len(store.rows(store.run(name), "loss")) == 200


@pytest.mark.slow
def test_a_companion_that_cannot_work_costs_nothing_but_the_mirror(
    store: Any, kit: Any, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken" / "filelock").mkdir(parents=True)
    (tmp_path / "broken" / "filelock" / "__init__.py").write_text("raise RuntimeError('broken')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"))
    (home / "mirror.log").unlink(missing_ok=True)
    ensure_companion(store.uri + "?broken", serve=False, port=5000)
    kit.eventually(lambda: not has_companion(store.uri + "?broken"))
    assert "broken" in (home / "mirror.log").read_text()


def test_a_bystander_does_not_wait_for_ever(store: Any, tmp_path: Path, home: Path) -> None:
    """`explr sync` beside a live run that holds the lock: there is nothing for it to do."""
    from filelock import FileLock

    begin = time.monotonic()
    follow(Order(store.uri))
    (lock_file,) = home.glob("mirror-*.lock")
    with FileLock(lock_file):
        follow(Order(store.uri))
        assert not Liveness().left(local_store_uri())
    assert time.monotonic() - begin < 600


def test_a_forked_process_does_not_end_the_run(kit: Any, store: Any, tmp_path: Path) -> None:
    # In a process of its own: that of the tests may hold threads of libraries, which no fork has.
    subprocess.run([sys.executable, "-c", FORKER, tmp_path / "run"], check=True)
    (journal,) = kit.journals(tmp_path / "run")
    kinds = [read.event["k"] for read in read_events(journal)]
    assert kinds.count("end") == 1
    kit.ship()
    assert store.status() == "FINISHED"
    assert set(store.run().data.metrics) == {"forked", "loss"}


def test_an_order_is_not_on_the_command_line(kit: Any, home: Path, tmp_path: Path) -> None:
    ensure_companion("http://user:secret@127.0.0.1:9/x", serve=False, port=5000)

    def lines() -> list[str]:
        found = []
        for child in psutil.Process().children():
            with suppress(psutil.NoSuchProcess):  # of an earlier test, and ended since
                found.append(" ".join(child.cmdline()))
        return found

    # A process that becomes another program has no command line for a moment.
    kit.eventually(lambda: any("explr.tracking.shipping.companion" in line for line in lines()))
    assert not any("secret" in line for line in lines())


def test_what_a_companion_tells_while_nobody_listens_is_heard_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ear, tell = os.pipe()
    shown: list[str] = []
    monkeypatch.setattr(start, "_show", shown.append)
    listener = start._Listener("here", ear)
    monkeypatch.setattr(start, "_listeners", {"here": listener})
    os.write(tell, b'{"address"')  # half a line, which it may have read or not
    with not_listening():
        assert listener._thread not in threading.enumerate()
        os.write(tell, b': "there"}\n')
        os.close(tell)
    listener._thread.join()
    assert shown == ["MLflow: there"]
    with not_listening():
        pass
    assert not listener._thread.is_alive()  # nothing is left to hear
