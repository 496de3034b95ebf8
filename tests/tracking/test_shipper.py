"""How journals are uploaded: order, retries, positions, ends; into a sink in memory."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any
from zlib import crc32

import pytest
from damage import DAMAGE, Damage
from memory_sink import SCHEME, URI, FakeClock, Memory, MemorySink

from explr.core.errors import TrackingError
from explr.core.folders import COMMAND, RESULTS, read_json, run_folder, write_json
from explr.sweep.folder import SweepFolder
from explr.tracking.journal.journal import Journal, journals_in, now_ms
from explr.tracking.journal.pending import Entry, enter, entries, strike_off
from explr.tracking.journal.position import read_position
from explr.tracking.run import TrackedRun, closing_line
from explr.tracking.shipping.awaiting import awaiting, is_awaited
from explr.tracking.shipping.companion import follow
from explr.tracking.shipping.observer import observed_file
from explr.tracking.shipping.run_ids import fill_in
from explr.tracking.shipping.run_upload import SHARE_BYTES, RunUpload
from explr.tracking.shipping.shipper import (
    LOCKED_PATIENCE_S,
    LONGEST_PAUSE_S,
    LONGEST_POLL_S,
    LOST_TAG,
    PATIENCE_S,
    SHARE,
    Shipper,
)
from explr.tracking.shipping.sink import SinkLocked, SinkUnavailable
from explr.tracking.shipping.sinks import SINKS
from explr.tracking.shipping.start import Order
from explr.tuning.search_space import SearchSpace
from explr.tuning.study import Study
from explr.utils.processes import identity_of

NO_PID = 2**22 + 1
"""No process has this number."""

POLL_S = 0.11
"""How much later than its time something may happen that is looked at every 0.1 s."""

JOURNAL_OF_0_1 = [
    '{"k":"start","t":1764000000000,"v":1,"experiment":"digits","name":"old","g":{"kind":"test"},'
    '"parent":null,"pid":4194305,"started":"1","host":"HOST","last":[],"after":null,'
    '"run":"0123456789abcdef0123456789abcdef","observe":null}',
    '{"k":"params","t":1764000000001,"p":{"lr":"0.1"}}',
    '{"k":"metrics","t":1764000000002,"s":0,"m":{"loss":1.5}}',
    '{"k":"metrics","t":1764000000003,"s":1,"m":{"loss":0.5}}',
    '{"k":"end","t":1764000000004,"status":"FINISHED"}',
]
"""Lines, without their checksums, as the first version wrote them."""


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def memory(clock: FakeClock) -> Memory:
    return Memory(clock)


@pytest.fixture
def begin(kit: Any, tmp_path: Path) -> Callable[..., TrackedRun]:
    """Begins a run of this process, which nobody uploads yet."""

    def begin(name: str = "run", **changes: Any) -> TrackedRun:
        run: TrackedRun = kit.begin(tmp_path / name, URI, **{"name": Path(name).name, **changes})
        return run

    return begin


@pytest.fixture
def ship(memory: Memory, clock: FakeClock) -> Callable[..., None]:
    """Uploads as a new process does: what is there, or until a process that it follows is gone."""

    def ship(alive: Callable[[], bool] | None = None, port: int | None = None) -> None:
        Shipper(MemorySink(memory), alive, port, clock, are_cores_busy=lambda: False).run()

    return ship


def die(run: TrackedRun) -> None:
    """Have the process of a run be gone, as after a kill."""
    (entry,) = [entry for entry in entries(URI) if entry.uid == run.journal.uid]
    enter(replace(entry, pid=NO_PID))
    run.journal.close()


def until(clock: FakeClock, time_s: float) -> Callable[[], bool]:
    """A process that lives until then."""
    return lambda: clock.now_s < time_s


def waiting() -> set[str]:
    """The runs that are not wholly uploaded, by folder."""
    return {Path(entry.journal).parent.name for entry in entries(URI)}


# What arrives, and in which order


def test_a_run_arrives_in_the_order_in_which_it_was_written(
    memory: Memory, begin: Any, ship: Any, tmp_path: Path
) -> None:
    log = tmp_path / "run" / "run.log"
    run = begin(params={"lr": 0.1}, tags={"kind": "test"}, last_files=(log, tmp_path / "never"))
    log.write_text("the end")
    run.tracker.log_metric("loss", 0.5, step=1)
    run.tracker.log_text("hello", "notes.txt")
    run.tracker.log_metric("loss", 0.25, step=2)
    run.close("FINISHED")
    ship()
    names = ("connect", "open_run", "send", "upload", "upload", "finish", "contents")
    assert [call.partition(" ")[0] for call in memory.calls] == list(names)
    seen = memory.run("run")
    assert (seen.status, seen.params, seen.tags) == ("FINISHED", {"lr": "0.1"}, {"kind": "test"})
    assert seen.values("loss") == [(1, 0.5), (2, 0.25)]
    assert seen.files == {"notes.txt": b"hello", "run.log": b"the end"}
    assert entries() == []
    position = read_position(run.journal.path)
    assert (position.offset, position.done) == (run.journal.path.stat().st_size, True)


def test_nothing_to_upload_opens_nothing(memory: Memory, ship: Any) -> None:
    ship()
    assert memory.calls == []


def test_a_growing_journal_is_followed(
    memory: Memory, begin: Any, ship: Any, clock: FakeClock
) -> None:
    run = begin()
    seen: list[Any] = []

    def log(step: int) -> None:
        seen.append((memory.run("run").status, memory.run("run").values("loss")))
        run.tracker.log_metric("loss", step, step)

    for step in range(5):
        clock.at(step + 1.0, lambda step=step: log(step))
    clock.at(8.0, lambda: run.close("FINISHED"))
    ship(until(clock, 10.0))
    assert seen == [("RUNNING", [(s, s) for s in range(step)]) for step in range(5)]
    assert memory.run("run").status == "FINISHED"
    assert entries() == []


def test_a_large_journal_keeps_no_other_waiting(memory: Memory, begin: Any, ship: Any) -> None:
    large, small = begin("large"), begin("small")
    for _ in range(12):
        large.journal.append("tags", g={"text": "x" * (SHARE_BYTES // 4)})
    for run in (large, small):
        run.close("FINISHED")
    ship()
    assert [call for call in memory.calls if "finish" in call] == ["finish small", "finish large"]
    assert len(memory.sent) == 14  # each of them once, with two of parameters


def test_a_trial_waits_for_its_sweep(memory: Memory, begin: Any, ship: Any) -> None:
    sweep = begin("sweep")
    (entry,) = entries()
    strike_off(entry)
    trial = begin("trial", parent=sweep.journal.path)
    trial.close("FINISHED")
    ship()
    assert (memory.runs, waiting()) == ({}, {"trial"})
    enter(entry)
    sweep.close("FINISHED")
    ship()
    assert memory.run("trial").parent_id == memory.run("sweep").run_id
    assert entries() == []


def test_a_sweep_is_found_again_without_its_position(memory: Memory, begin: Any, ship: Any) -> None:
    sweep = begin("sweep", experiment="sweeps")
    ship()
    sweep.journal.path.with_suffix(".position").unlink()
    sweep_id = memory.run("sweep").run_id
    trial = begin("trial", parent=sweep.journal.path, experiment="jobs")
    RunUpload(MemorySink(memory), trial.journal.path).advance()
    assert memory.run("trial").parent_id == sweep_id


def test_a_sweep_on_another_machine_may_come_later(
    memory: Memory, begin: Any, ship: Any, tmp_path: Path
) -> None:
    sweep = begin("sweep")
    (entry,) = entries()
    strike_off(entry)
    trial = begin("trial", parent=tmp_path / "elsewhere" / sweep.journal.path.name)
    ship()
    assert memory.run("trial").parent_id == ""
    enter(entry)
    ship()
    trial.close("FINISHED")
    ship()
    assert memory.run("trial").parent_id == memory.run("sweep").run_id


def test_the_model_of_a_trial_waits_for_the_trial(
    memory: Memory, begin: Any, ship: Any, tmp_path: Path
) -> None:
    sweep = begin("sweep")
    trial = begin("trial", parent=sweep.journal.path)
    model = tmp_path / "weights.pt"
    model.write_bytes(b"123")
    sweep.register("digits", model, "the best", trial.journal.path)
    sweep.close("FINISHED")
    trial.close("FINISHED")
    ship()
    assert memory.models == {("digits", memory.run("trial").run_id): "the best"}
    assert memory.run("trial").files == {"model/weights.pt": b"123"}
    assert entries() == []


def swept(begin: Any, sweep: Path, replicates: int = 1) -> dict[int, TrackedRun]:
    """Runs of a sweep's trials 0 and 2, which have ended; its results were written before."""
    parent = begin(sweep.name)
    write_json(sweep / COMMAND, {"study": "s", "cwd": "/"})
    places = [(n, n if replicates == 1 else f"{n}/{r}") for n in (0, 2) for r in range(replicates)]
    runs = {n: begin(f"{sweep.name}/{place}", parent=parent.journal.path) for n, place in places}
    rows = [{"number": number, "run_id": None, "state": "COMPLETE"} for number in range(3)]
    results = {"command": "", "best": rows[2], "front": rows[1:], "trials": rows}
    write_json(sweep / RESULTS, results)
    for run in (*runs.values(), parent):
        run.close("FINISHED")
    return runs


def ids_in(sweep: Path) -> list[str | None]:
    """The ids of runs in the results of a sweep, that of the best trial at the end."""
    results = read_json(sweep / RESULTS)
    assert results is not None
    assert [row["run_id"] for row in results["front"]] == [
        row["run_id"] for row in results["trials"][1:]
    ]
    return [row["run_id"] for row in (*results["trials"], results["best"])]


@pytest.mark.parametrize("replicates", [1, 2])
def test_results_that_a_sweep_wrote_before_get_the_ids_of_its_runs(
    memory: Memory, begin: Any, ship: Any, tmp_path: Path, replicates: int
) -> None:
    sweep = tmp_path / "sweep"
    swept(begin, sweep, replicates)
    memory.refuse("open_run 2" if replicates == 1 else "open_run 0", "not yet")
    ship()
    assert ids_in(sweep)[1:] == [None, None, None]
    memory.come_back()
    ship()
    first, none, last, best = ids_in(sweep)
    numbers = {0: first, 2: last}
    assert (none, best) == (None, last)
    for number, run_id in numbers.items():
        assert run_id is not None
        uid = memory.runs[run_id].start.uid
        (journal,) = (run_folder(sweep / str(number))).glob(f"journal-{uid}.jsonl")
        assert read_position(journal).run_id == run_id
    written = (sweep / RESULTS).stat().st_ino
    fill_in(tmp_path)
    assert (sweep / RESULTS).stat().st_ino == written


def test_the_ids_of_runs_are_filled_in_for_an_upload_that_was_killed(
    memory: Memory, begin: Any, tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep"
    runs = swept(begin, sweep)
    for journal in (*journals_in(sweep), *(run.journal.path for run in runs.values())):
        RunUpload(MemorySink(memory), journal).advance()  # and then a kill
    fill_in(tmp_path)
    assert ids_in(sweep) == ["run-1", None, "run-2", "run-2"]


def test_results_that_are_damaged_hold_up_no_upload(
    memory: Memory, begin: Any, ship: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sweep = tmp_path / "sweep"
    swept(begin, sweep)
    (sweep / RESULTS).write_text("{")
    ship()
    assert entries() == []
    assert (sweep / RESULTS).read_text() == "{"
    assert f"{sweep / RESULTS} is not valid JSON" in caplog.text


def test_no_id_of_a_run_and_no_trial_is_lost_between_two_writers(
    memory: Memory, begin: Any, tmp_path: Path
) -> None:
    count = 15
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    study = Study(sweep, "s", ["minimize"])
    folder = SweepFolder(sweep, study, 1, lambda name, value: value)
    folder.remember_command([])
    parent = begin("sweep")

    def run_trials() -> None:
        for number in range(count):
            begin(f"sweep/{number}", parent=parent.journal.path)
            study.tell(study.ask(lambda values: SearchSpace())[0], "COMPLETE", [1.0])
            folder.write_results()

    controller = Thread(target=run_trials)
    controller.start()
    shipper = Shipper(MemorySink(memory), are_cores_busy=lambda: False)
    while controller.is_alive():
        shipper.run()
    controller.join()
    shipper.run()
    rows = (read_json(sweep / RESULTS) or {})["trials"]
    assert [row["number"] for row in rows] == list(range(count))
    assert {row["run_id"] for row in rows} == set(memory.runs) - {memory.run("sweep").run_id}


# From where it goes on


def test_a_new_process_sends_only_what_is_new(memory: Memory, begin: Any, ship: Any) -> None:
    run = begin()
    for step in range(3):
        run.tracker.log_metric("loss", step, step)
    ship()
    memory.sent.clear()
    memory.calls.clear()
    run.tracker.log_metric("loss", 3.0, 3)
    ship()
    assert [event["s"] for event in memory.sent] == [3]
    assert memory.calls == ["connect", "send run"]


OF_POSITIONS = {
    **DAMAGE,
    "beyond the journal": lambda content: b'{"offset": 10000000}',
    "within a line": lambda content: re.sub(rb'"offset": \d+', b'"offset": 9', content),
    "of another type": lambda content: b'{"offset": []}',
    "newer": lambda content: content.replace(b"{", b'{"format": 99, "since": 7, ', 1),
}


@pytest.mark.parametrize("damage", OF_POSITIONS.values(), ids=OF_POSITIONS.keys())
def test_a_damaged_position_doubles_nothing(
    memory: Memory, begin: Any, ship: Any, damage: Damage
) -> None:
    run = begin()
    run.tracker.log_metric("loss", 1.0, 1)
    ship()
    position = run.journal.path.with_suffix(".position")
    position.write_bytes(damage(position.read_bytes()))
    run.tracker.log_metric("loss", 2.0, 2)
    run.close("FINISHED")
    ship()
    assert memory.run("run").values("loss") == [(1, 1.0), (2, 2.0)]
    assert len(memory.runs) == 1


def rewritten(journal: Path, **changes: Any) -> bytes:
    """A journal whose first event has other fields; None removes one."""
    first, _, rest = journal.read_bytes().partition(b"\n")
    event = {**json.loads(first.partition(b" ")[2]), **changes}
    text = json.dumps({key: value for key, value in event.items() if value is not None}).encode()
    return b"%08x %b\n%b" % (crc32(text), text, rest)


@pytest.mark.parametrize("sent", [False, True])
@pytest.mark.parametrize("damage", [*DAMAGE, "newer", "without a version"])
def test_a_damaged_journal_adds_nothing_that_was_not_logged(
    memory: Memory, begin: Any, ship: Any, damage: str, sent: bool
) -> None:
    run, other = begin(), begin("other")
    for step in range(20):
        run.tracker.log_metric("loss", step, step)
    if sent:
        ship()
    run.close("FINISHED")
    other.close("FINISHED")
    journal = run.journal.path
    if damage in DAMAGE:
        left = DAMAGE[damage](journal.read_bytes())
    else:
        left = rewritten(journal, v=99 if damage == "newer" else None)
    journal.write_bytes(left)
    ship()
    ship()
    assert memory.run("other").status == "FINISHED"
    assert journal.read_bytes() == left
    runs = [run for run in memory.runs.values() if run.start.name == "run"]
    rows = [row for run in runs for row in run.values("loss")]
    assert all(step == value for step, value in rows)
    assert len(rows) == len(set(rows))
    error = read_position(journal).error
    if damage == "without a version":
        assert (len(rows), error) == (20, "")
    elif sent:
        assert len(rows) == 20
    elif damage in ("front", "newer"):
        assert runs == []
        assert "damaged" in error or "newer version" in error
        assert error.count("\n") == 0


def test_a_line_that_is_being_written_waits_for_its_end(
    memory: Memory, begin: Any, ship: Any
) -> None:
    run = begin()
    for step in range(3):
        run.tracker.log_metric("loss", step, step)
    content = run.journal.path.read_bytes()
    run.journal.path.write_bytes(content[:-4])
    ship()
    assert memory.run("run").values("loss") == [(0, 0), (1, 1)]
    run.journal.path.write_bytes(content)
    ship()
    assert memory.run("run").values("loss") == [(0, 0), (1, 1), (2, 2)]


def test_damage_costs_only_its_own_line(
    memory: Memory, begin: Any, ship: Any, caplog: pytest.LogCaptureFixture
) -> None:
    run = begin()
    for step in range(9):
        run.tracker.log_metric("loss", step, step)
    lines = run.journal.path.read_bytes().splitlines(keepends=True)
    lines[6] = b"\x00" * (len(lines[6]) - 1) + b"\n"
    lines[-1] = lines[-1][:-4]
    run.journal.path.write_bytes(b"".join(lines))
    ship()
    assert [step for step, _ in memory.run("run").values("loss")] == [0, 1, 2, 3, 5, 6, 7]
    assert "is damaged, and left out" in caplog.text


def test_a_damaged_beginning_is_one_clear_sentence(memory: Memory, begin: Any, ship: Any) -> None:
    run = begin()
    content = bytearray(run.journal.path.read_bytes())
    content[20] ^= 1
    run.journal.path.write_bytes(content)
    with pytest.raises(TrackingError, match=r"the beginning of .* is damaged"):
        RunUpload(MemorySink(memory), run.journal.path).advance()
    ship()
    position = read_position(run.journal.path)
    assert "is damaged" in position.error
    assert position.stuck
    assert memory.runs == {}


@pytest.mark.parametrize("sent", [0, 4])
def test_a_journal_and_a_position_of_the_first_version_are_read(
    memory: Memory, ship: Any, tmp_path: Path, home: Path, sent: int
) -> None:
    texts = [text.replace("HOST", socket.gethostname()).encode() for text in JOURNAL_OF_0_1]
    lines = [b"%08x %b\n" % (crc32(text), text) for text in texts]
    journal = tmp_path / "journal-0123456789abcdef0123456789abcdef.jsonl"
    journal.write_bytes(b"".join(lines))
    (home / "pending").mkdir()
    pending = {"journal": str(journal), "uri": URI, "pid": NO_PID, "started": "1"}
    (home / "pending" / "0123456789abcdef0123456789abcdef.json").write_text(
        json.dumps({**pending, "host": socket.gethostname()})
    )
    if sent:  # as the first version left it when it was killed
        partly = tmp_path / journal.with_suffix(".jsonl.part").name
        partly.write_bytes(b"".join(lines[:sent]))
        RunUpload(MemorySink(memory), partly).advance()
        offset = len(b"".join(lines[:sent]))
        run_id = memory.run("old").run_id
        journal.with_suffix(".position").write_text(
            f'{{"offset": {offset}, "run_id": "{run_id}", "experiment_id": "digits", "ended": '
            'false, "owed": [], "done": false, "error": "why", "stuck": true, "observed": 0}'
        )
        memory.sent.clear()
    ship()
    old = memory.run("old")
    assert (old.status, old.end_ms, old.params) == ("FINISHED", 1764000000004, {"lr": "0.1"})
    assert old.values("loss") == [(0, 1.5), (1, 0.5)]
    assert len(memory.sent) == (0 if sent else 3)
    assert entries() == []
    assert read_position(journal).error == ""


# What fails, and when it is tried again


def test_one_failing_journal_holds_up_no_other(memory: Memory, begin: Any, ship: Any) -> None:
    bad, odd, good = begin("bad"), begin("odd"), begin("good")
    memory.refuse("open_run bad", "it was deleted")
    odd.journal.write({"k": "metrics", "t": 1, "s": 0})
    for run in (bad, odd, good):
        run.tracker.log_metric("loss", 1.0)
        run.close("FINISHED")
    ship()
    assert memory.run("good").status == "FINISHED"
    assert waiting() == {"bad", "odd"}
    position = read_position(bad.journal.path)
    assert (position.error, position.stuck) == ("it was deleted", True)
    position = read_position(odd.journal.path)
    assert (position.error, position.stuck) == ("'m'", False)


def test_a_failing_journal_is_tried_again_after_growing_pauses(
    memory: Memory, begin: Any, ship: Any, clock: FakeClock
) -> None:
    run = begin()
    memory.failing["send run"] = SinkUnavailable("not now")
    clock.at(70.0, memory.come_back)
    ship(until(clock, 80.0))
    times = [t for call, t in zip(memory.calls, memory.times, strict=True) if call == "send run"]
    pauses = [later - earlier for earlier, later in pairwise(times)]
    wanted = [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0, 15.0]
    assert [w <= p <= w + POLL_S for p, w in zip(pauses, wanted, strict=True)] == [True] * 9
    assert read_position(run.journal.path).error == ""
    memory.calls.clear()
    memory.failing["send run"] = SinkUnavailable("again")
    run.tracker.log_metric("loss", 1.0)
    begun = clock.now_s
    clock.at(begun + 0.3, memory.come_back)
    ship(until(clock, begun + 5))
    assert memory.calls == ["connect", "send run", "check", "send run"]


def test_a_reason_stands_beside_the_journal_until_it_is_gone(
    memory: Memory, begin: Any, ship: Any
) -> None:
    run = begin()
    run.close("FINISHED")
    for reason, error in (("refused", TrackingError), ("not now", SinkUnavailable)):
        memory.failing["finish run"] = error(reason)
        ship()
        position = read_position(run.journal.path)
        assert (position.error, position.stuck) == (reason, error is TrackingError)
    memory.come_back()
    ship()
    position = read_position(run.journal.path)
    assert (position.error, position.stuck, position.done) == ("", False, True)


def test_a_sink_that_is_away_is_asked_for_one_journal_and_not_for_each(
    memory: Memory, begin: Any, ship: Any, clock: FakeClock
) -> None:
    runs = [begin(name) for name in "abcde"]
    ship()
    for run in runs:
        run.tracker.log_metric("loss", 1.0)
        run.close("FINISHED")
    memory.calls.clear()
    memory.go_away()
    clock.at(2.0, memory.come_back)
    reasons: list[set[str]] = []
    clock.at(1.9, lambda: reasons.append({read_position(run.journal.path).error for run in runs}))
    ship(until(clock, 20.0))
    first = ["connect", "send a", "check"]
    assert memory.calls[:3] == first
    assert memory.calls[3:5] == ["check", "check"]  # after 0.5 and 1.5 s, until it answers
    assert reasons == [{"nobody is there"}]
    assert entries() == []
    assert {read_position(run.journal.path).error for run in runs} == {""}


def test_a_sink_that_cannot_be_opened_is_tried_again(
    memory: Memory, begin: Any, ship: Any, clock: FakeClock
) -> None:
    runs = [begin(name) for name in "ab"]
    memory.failing["connect"] = SinkUnavailable("nobody is there")
    ship(port=5001)
    assert {read_position(run.journal.path).error for run in runs} == {"nobody is there"}
    clock.at(clock.now_s + 4.0, memory.come_back)
    ship(until(clock, clock.now_s + 20.0), 5001)
    assert memory.ports == [5001]  # opened once
    assert len(memory.runs) == 2


def test_files_wait_for_their_store_and_metrics_do_not(
    memory: Memory, begin: Any, ship: Any, clock: FakeClock
) -> None:
    run = begin()
    memory.failing["upload"] = SinkUnavailable("the disk is full")
    run.tracker.log_text("1", "one.txt")
    run.tracker.log_metric("loss", 1.0)
    run.tracker.log_text("2", "two.txt")
    run.close("FINISHED")
    ship()
    seen = memory.run("run")
    assert (seen.status, seen.values("loss"), seen.files) == ("FINISHED", [(0, 1.0)], {})
    assert waiting() == {"run"}
    error = read_position(run.journal.path).error
    assert error.endswith("one.txt is not uploaded: the disk is full")
    clock.at(clock.now_s + 3.0, memory.come_back)
    ship(until(clock, clock.now_s + 10.0))
    assert list(seen.files) == ["one.txt", "two.txt"]
    assert entries() == []
    assert read_position(run.journal.path).error == ""


def test_a_missing_file_holds_up_nothing(
    memory: Memory, begin: Any, ship: Any, tmp_path: Path
) -> None:
    run = begin(first_files=(tmp_path / "run" / "missing",))
    run.tracker.log_metric("loss", 1.0)
    run.close("FINISHED")
    ship()
    assert memory.run("run").values("loss") == [(0, 1.0)]
    assert entries() == []


def test_what_never_works_is_left_to_explr_sync(
    memory: Memory, begin: Any, ship: Any, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    die(begin())
    memory.failing["send run"] = SinkUnavailable("not now")
    ship(until(clock, 1.0))
    assert PATIENCE_S <= clock.now_s <= 2 * PATIENCE_S
    assert waiting() == {"run"}
    assert "`explr sync` uploads what is left" in caplog.text


@pytest.mark.parametrize("locked_s", [2 * PATIENCE_S, 2 * LOCKED_PATIENCE_S])
def test_a_sink_that_is_locked_is_waited_for_longer(
    memory: Memory, begin: Any, ship: Any, clock: FakeClock, locked_s: float
) -> None:
    run = begin()
    ship(until(clock, 1.0))
    die(run)
    memory.failing = dict.fromkeys(("connect", "send", "finish", "check"), SinkLocked("locked"))
    clock.at(locked_s, memory.come_back)
    ship(until(clock, 2.0))
    released = locked_s < LOCKED_PATIENCE_S
    assert memory.run("run").status == ("KILLED" if released else "RUNNING")
    assert clock.now_s < LOCKED_PATIENCE_S + 2 * PATIENCE_S


# How runs end


def test_a_run_of_a_living_process_stays_open(memory: Memory, begin: Any, ship: Any) -> None:
    run = begin()
    for _ in range(2):
        ship()
        assert memory.run("run").status == "RUNNING"
    run.close("FAILED")
    ship()
    assert memory.run("run").status == "FAILED"


def test_the_run_of_a_process_that_is_gone_ends_killed(
    memory: Memory, begin: Any, ship: Any, clock: FakeClock
) -> None:
    run = begin()
    run.tracker.log_metric("loss", 1.0)
    before_ns = (now_ms() - 60_000) * 1_000_000  # the clock of files may be behind
    os.utime(run.journal.path, ns=(before_ns, before_ns))
    die(run)
    ship(until(clock, 0.0))
    seen = memory.run("run")
    assert (seen.status, seen.end_ms) == ("KILLED", seen.start.started_ms)
    assert seen.values("loss") == [(0, 1.0)]
    assert entries() == []


def test_attempts_are_one_run(memory: Memory, begin: Any, ship: Any) -> None:
    first = begin(resumes=True)
    first.tracker.log_metric("loss", 1.0, 0)
    die(first)
    again = begin(resumes=True)
    again.tracker.log_metric("loss", 9.0, 0)  # which it had logged before
    again.tracker.log_metric("loss", 0.5, 1)
    again.close("FINISHED")
    ship()
    seen = memory.run("run")
    assert (seen.status, seen.values("loss")) == ("FINISHED", [(0, 1.0), (1, 0.5)])
    finishes = [call for call in memory.calls if call.startswith(("open", "finish"))]
    assert finishes == ["open_run run", "finish run"] * 2
    assert entries() == []


@pytest.mark.parametrize(("ended", "status"), [(False, "KILLED"), (True, "FINISHED")])
def test_a_run_whose_journal_was_deleted_does_not_stay_open(
    memory: Memory, begin: Any, ship: Any, ended: bool, status: str
) -> None:
    run = begin()
    memory.failing["upload"] = SinkUnavailable("not now")
    run.tracker.log_text("1", "one.txt")
    if ended:
        run.close("FINISHED")
    ship()
    run.journal.path.unlink()
    run.journal.path.with_suffix(".position").unlink()
    ship()
    assert memory.run("run").status == status
    assert (LOST_TAG in memory.run("run").tags) is not ended
    assert entries() == []


def test_a_journal_of_another_machine_is_left_to_it(memory: Memory, ship: Any, home: Path) -> None:
    away = Entry("/away/journal-1.jsonl", URI, 1, "before", "another-machine")
    enter(away)
    ship()
    assert entries() == [away]


def test_an_empty_journal_is_forgotten(memory: Memory, ship: Any, tmp_path: Path) -> None:
    journal = tmp_path / "journal-1.jsonl"
    journal.touch()
    enter(Entry(str(journal), URI, NO_PID, "before", socket.gethostname()))
    ship()
    assert entries() == []
    assert memory.runs == {}


@pytest.mark.parametrize("dead", [False, True])
def test_the_end_of_a_run_waits_for_its_origin(
    memory: Memory, ship: Any, clock: FakeClock, tmp_path: Path, dead: bool
) -> None:
    journal = Journal.create(tmp_path)
    host = socket.gethostname()
    pid = NO_PID if dead else os.getpid()
    enter(Entry(str(journal.path), URI, pid, "before", host))
    start: dict[str, Any] = {"v": 1, "experiment": "digits", "name": "run", "g": {}, "last": []}
    journal.append("start", **start, parent=None, after=None, run=journal.uid, observe=1.0)
    journal.append("end", status="FINISHED")
    statuses: list[str] = []
    (tmp_path / "lock.txt").write_text("packages")

    def observe() -> None:
        statuses.append(memory.run("run").status)
        notes = Journal(observed_file(journal.path))
        notes.append("metrics", s=1, m={"load": 0.5})
        notes.append("artifact", f="lock.txt", d="origin")
        notes.append("tags", g={"branch": "main"})
        notes.close()

    clock.at(3.0, observe)
    ship()
    assert statuses == ["RUNNING"]
    seen = memory.run("run")
    assert (seen.status, seen.values("load"), seen.tags) == (
        "FINISHED",
        [(1, 0.5)],
        {"branch": "main"},
    )
    assert seen.files == {"origin/lock.txt": b"packages"}
    assert entries() == []


# Beside trainings, and beside another process that uploads


def test_trainings_that_take_all_cores_lose_next_to_nothing(
    memory: Memory, begin: Any, clock: FakeClock
) -> None:
    run = begin()
    memory.cost_s = 0.02
    for step in range(1, 120):
        clock.at(step, lambda step=step: run.tracker.log_metric("loss", step, step))
    alive = until(clock, 120.0)
    Shipper(MemorySink(memory), alive, None, clock, are_cores_busy=lambda: True).run()
    assert memory.run("run").values("loss") == [(step, step) for step in range(1, 120)]
    sends = [t for call, t in zip(memory.calls, memory.times, strict=True) if call == "send run"]
    assert max(later - earlier for earlier, later in pairwise(sends)) <= LONGEST_PAUSE_S + POLL_S
    assert clock.busy_s <= SHARE * 120.0 + 4 * memory.cost_s


@pytest.mark.parametrize("waits_from_s", [0.0, 20.0])
def test_what_a_process_waits_for_is_uploaded_at_once(
    waits_from_s: float, memory: Memory, begin: Any, clock: FakeClock
) -> None:
    large = begin("large")
    for _ in range(12):
        large.journal.append("tags", g={"text": "x" * (SHARE_BYTES // 4)})
    large.close("FINISHED")
    memory.cost_s = 0.02
    alive = until(clock, 60.0)
    shipper = Shipper(
        MemorySink(memory), alive, None, clock,
        are_cores_busy=lambda: True, is_awaited=lambda: clock.now_s >= waits_from_s,
    )  # fmt: skip
    ended_s: list[float] = []
    shipper.run(lambda: ended_s.append(clock.now_s) if not entries() else None)
    assert ended_s[0] - waits_from_s <= LONGEST_POLL_S


def test_a_process_that_waits_is_seen_until_it_ends(home: Path) -> None:
    assert not is_awaited(URI)
    with awaiting(URI), awaiting(URI):
        assert is_awaited(URI)
        assert not is_awaited("sqlite:///another.db")
    assert not is_awaited(URI)
    waiting = (
        "import os\nfrom explr.tracking.shipping.awaiting import awaiting\n"
        f"with awaiting({URI!r}):\n    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", waiting], check=False).returncode == -9
    assert not is_awaited(URI)
    assert [file.stat().st_mode & 0o777 for file in home.glob("*.awaited")] == [0o600]


def test_a_companion_leaves_the_upload_to_who_asks_for_it(
    memory: Memory, begin: Any, kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SINKS, SCHEME, lambda uri: MemorySink(memory, uri))
    with subprocess.Popen(["sleep", "600"]) as followed:
        order = Order(URI, followed.pid, identity_of(followed.pid).started)
        companion = Thread(target=follow, args=[order])
        companion.start()
        try:
            begin("first").close("FINISHED")
            kit.eventually(lambda: not entries(), "the upload by the companion")
            memory.failing["send second"] = SinkUnavailable("not for the companion")
            begin("second", params={"lr": 1}).close("FINISHED")
            kit.eventually(lambda: "send second" in memory.calls, "the companion's attempt")
            memory.calls.clear()
            memory.failing.clear()
            assert follow(Order(URI))
            assert "connect" in memory.calls  # it was not the companion, which is connected
            assert memory.run("second").status == "FINISHED"
            begin("third").close("FINISHED")
            kit.eventually(lambda: not entries(), "the upload by the companion, again")
        finally:
            followed.kill()
            companion.join()


# How a destination names its sink


def test_a_second_sink_needs_its_name_in_the_table_alone(
    memory: Memory, begin: Any, kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SINKS, SCHEME, lambda uri: MemorySink(memory, uri))
    run = begin()
    run.close("FINISHED")
    kit.ship(URI)
    assert memory.run("run").status == "FINISHED"
    assert closing_line(run) == f"MLflow: {URI}/digits/run-0"
