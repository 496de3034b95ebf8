"""What is logged when a run has ended: it is refused in a sentence, or it is in the sink."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from memory_sink import URI, FakeClock, Memory, MemorySink

from explr.core.errors import TrackingError
from explr.tracking.journal.journal import Journal
from explr.tracking.journal.lines import mark
from explr.tracking.journal.pending import enter, entries
from explr.tracking.run import TrackedRun
from explr.tracking.shipping.run_upload import RunUpload
from explr.tracking.shipping.shipper import Shipper

OVER = "the run has ended: nothing can be added to"


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def ship(memory: Memory) -> Callable[[], None]:
    return lambda: Shipper(MemorySink(memory), lambda: False, None, FakeClock()).run() and None


@pytest.fixture
def run(kit: Any, tmp_path: Path) -> TrackedRun:
    begun: TrackedRun = kit.begin(tmp_path / "run", URI)
    return begun


def helper_of(run: TrackedRun) -> Journal:
    """The journal as a process has it that was sent it."""
    journal = Journal(run.journal.path)
    journal._owner = -1
    return journal


def log(journal: Journal, step: int) -> None:
    journal.append("metrics", s=step, m={"seen": 1.0})


def test_a_process_that_goes_on_is_told(run: TrackedRun, memory: Memory, ship: Any) -> None:
    helper = helper_of(run)
    log(helper, 0)
    run.close("FINISHED")
    size = run.journal.path.stat().st_size
    for _ in range(3):
        with pytest.raises(TrackingError, match=OVER):
            log(helper, 1)
    assert run.journal.path.stat().st_size < size + 60  # it has closed the file
    with pytest.raises(TrackingError, match=OVER):
        log(helper_of(run), 2)
    ship()
    assert memory.run("run").values("seen") == [(0, 1.0)]
    assert memory.run("run").status == "FINISHED"
    assert entries() == []


def test_what_comes_before_the_end_arrives(run: TrackedRun, memory: Memory, ship: Any) -> None:
    helper = helper_of(run)
    mark(run.journal.path)  # the end of the run has begun
    with pytest.raises(TrackingError, match=OVER):
        log(helper, 0)
    run.close("FINISHED")
    ship()
    assert memory.run("run").values("seen") == [(0, 1.0)]


def test_a_process_whose_training_was_killed(run: TrackedRun, memory: Memory, ship: Any) -> None:
    helper = helper_of(run)
    (entry,) = entries(URI)
    enter(replace(entry, pid=2**22 + 1))
    run.journal.close()
    log(helper, 0)
    ship()
    assert (memory.run("run").status, entries()) == ("KILLED", [])
    with pytest.raises(TrackingError, match=OVER):
        log(helper, 1)
    assert memory.run("run").values("seen") == [(0, 1.0)]


def test_a_process_of_an_earlier_attempt(
    kit: Any, tmp_path: Path, memory: Memory, ship: Any
) -> None:
    killed = kit.begin(tmp_path / "run", URI, resumes=True)
    helper = helper_of(killed)
    log(helper, 0)
    (entry,) = entries(URI)
    enter(replace(entry, pid=2**22 + 1))
    killed.journal.close()
    again = kit.begin(tmp_path / "run", URI, resumes=True)
    with pytest.raises(TrackingError, match=OVER):
        log(helper, 1)
    again.tracker.log_metric("seen", 2.0, step=0)
    again.tracker.log_metric("seen", 2.0, step=1)
    again.close("FINISHED")
    ship()
    assert memory.run("run").values("seen") == [(0, 1.0), (1, 2.0)]


def test_a_file_system_that_holds_no_mark(
    run: TrackedRun, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written before the upload has finished arrives."""
    monkeypatch.setattr(Path, "chmod", lambda path, mode: None)
    helper = helper_of(run)
    run.close("FINISHED")
    log(helper, 0)
    upload = RunUpload(MemorySink(memory), run.journal.path)
    while upload.advance():
        pass
    assert upload.done
    assert memory.run("run").values("seen") == [(0, 1.0)]


def test_the_training_itself_goes_on_if_it_was_taken_for_dead(
    run: TrackedRun, memory: Memory
) -> None:
    upload = RunUpload(MemorySink(memory), run.journal.path)
    upload.advance()
    upload.close_as_killed()
    assert (memory.run("run").status, upload.done) == ("KILLED", True)
    run.tracker.log_metric("seen", 1.0, step=0)
    run.close("FINISHED")
    while upload.advance():
        pass
    assert memory.run("run").status == "FINISHED"
    assert memory.run("run").values("seen") == [(0, 1.0)]


def test_the_mark_permits_nothing(run: TrackedRun) -> None:
    run.close("FINISHED")
    assert run.journal.path.stat().st_mode & 0o777 == 0o600
    assert os.access(run.journal.path, os.R_OK | os.W_OK)
