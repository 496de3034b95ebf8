import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from explr.core.errors import TrackingError
from explr.tracking.journal.journal import (
    LOOK_EVERY_MS,
    Journal,
    first_event,
    is_being_written,
    uid_of,
)
from explr.tracking.journal.lines import event_of, read_events

WRITER = """
import os, sys, pathlib
from explr.tracking.client import ExplrTracker
from explr.tracking.journal.journal import Journal
folder = pathlib.Path(sys.argv[1])
tracker = ExplrTracker(Journal.create(folder), folder, None)
for i in range(int(sys.argv[2])):
    tracker.log_metric("loss", i / 7, step=i)
os.kill(os.getpid(), 9)
"""
FORKED_WRITERS = """
import os, pathlib, sys
from explr.tracking.journal.journal import Journal
journal = Journal(pathlib.Path(sys.argv[1]))
for name in "abcd":
    if os.fork() == 0:
        for _ in range(200):
            journal.append("tags", g={name: "x" * 500})
        os._exit(0)
assert [os.wait()[1] for _ in "abcd"] == [0] * 4
"""
FULL_DISK = """
import pathlib, resource, sys
from explr.core.errors import TrackingError
from explr.tracking.journal.journal import Journal
journal = Journal(pathlib.Path(sys.argv[1]))
journal.append("tags", g={"a": "1"})
size = journal.path.stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, resource.RLIM_INFINITY))
for attempt in range(2):
    try:
        journal.append("tags", g={"b": "2"})
    except TrackingError as error:
        print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
journal.append("tags", g={"c": "3"})
"""


def tags(path: Path) -> list[dict[str, str]]:
    return [read.event["g"] for read in read_events(path)]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    journal = Journal.create(tmp_path)
    for name in "abc":
        journal.append("tags", g={name: name})
    return journal


def test_events_are_read_as_they_were_written(journal: Journal) -> None:
    assert tags(journal.path) == [{"a": "a"}, {"b": "b"}, {"c": "c"}]


@pytest.mark.parametrize(
    "value", [0.1, 1e-320, 1e308, math.inf, -math.inf, -0.0, 2**53 + 1.0, 1 / 3]
)
def test_numbers_are_kept_exactly(tmp_path: Path, value: float) -> None:
    journal = Journal.create(tmp_path)
    journal.append("metrics", s=0, m={"x": value})
    (read,) = read_events(journal.path)
    assert read.event["m"]["x"] == value
    assert math.copysign(1, read.event["m"]["x"]) == math.copysign(1, value)


def test_nan_is_kept(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path)
    journal.append("metrics", s=0, m={"x": math.nan})
    (read,) = read_events(journal.path)
    assert math.isnan(read.event["m"]["x"])


@pytest.mark.parametrize("text", ["é\n\t", "\0", "\udcff", "😀", ""])
def test_any_text_is_kept(tmp_path: Path, text: str) -> None:
    journal = Journal.create(tmp_path)
    journal.append("tags", g={"x": text})
    assert tags(journal.path) == [{"x": text}]


def test_reading_continues_where_it_stopped(journal: Journal) -> None:
    first, second, _ = read_events(journal.path)
    assert [r.event["g"] for r in read_events(journal.path, first.end)] == [{"b": "b"}, {"c": "c"}]
    assert next(read_events(journal.path, second.end)).event["g"] == {"c": "c"}


def test_a_torn_tail_waits_for_its_end(journal: Journal) -> None:
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole[:-5])
    assert tags(journal.path) == [{"a": "a"}, {"b": "b"}]
    journal.path.write_bytes(whole)
    assert tags(journal.path) == [{"a": "a"}, {"b": "b"}, {"c": "c"}]


@pytest.mark.parametrize("damage", [b"XX", b"\xff\xff", b"\0\0"])
def test_a_damaged_line_is_passed_over(journal: Journal, damage: bytes) -> None:
    lines = journal.path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1][:20] + damage + lines[1][22:]
    journal.path.write_bytes(b"".join(lines))
    assert tags(journal.path) == [{"a": "a"}, {"c": "c"}]


def test_no_byte_of_damage_invents_an_event(journal: Journal) -> None:
    journal.append("metrics", s=3, m={"loss": 0.5, "acc": math.inf})
    whole = journal.path.read_bytes()
    good = [event for event, _ in read_events(journal.path)]
    assert len(good) == 4
    for i in range(len(whole)):
        for bit in (1, 2, 16):
            journal.path.write_bytes(whole[:i] + bytes([whole[i] ^ bit]) + whole[i + 1 :])
            assert all(event in good for event, _ in read_events(journal.path))


@pytest.mark.parametrize(
    "event",
    [
        {"t": -5, "s": 0, "m": {"x": 1.0}},
        {"t": 1764000000002, "s": None, "m": {"x": 0.5, 'a "b",': 2, "é\udcff": -math.inf}},
        {"t": 2**43, "s": -(2**63), "m": {"": True, "x": 1e-320}},
        {"t": 1, "s": True, "m": {"x": 0.5}},
        {"t": 1, "s": 1, "m": {}},
    ],
)
def test_any_metrics_are_kept(journal: Journal, event: dict[str, Any]) -> None:
    journal.write({"k": "metrics", **event})
    assert [read.event for read in read_events(journal.path)][-1] == {"k": "metrics", **event}


def test_a_damaged_beginning_is_no_beginning(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path)
    assert first_event(journal.path) is None
    journal.append("start", name="x")
    journal.append("tags", g={})
    start = first_event(journal.path)
    assert start is not None
    assert start["name"] == "x"
    content = bytearray(journal.path.read_bytes())
    content[15] ^= 1
    journal.path.write_bytes(content)
    assert first_event(journal.path) is None
    assert first_event(tmp_path / "nothing") is None


def test_a_killed_writer_leaves_every_row(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", WRITER, tmp_path, "300"], check=False)
    assert done.returncode == -signal.SIGKILL
    (path,) = tmp_path.glob("journal-*.jsonl")
    rows = [(r.event["s"], r.event["m"]["loss"]) for r in read_events(path)]
    assert rows == [(i, i / 7) for i in range(300)]


def test_a_full_disk_is_told_and_costs_only_what_was_written_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "journal-x.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, path], capture_output=True, text=True, check=True
    )
    assert f"cannot write {path}: No space left on device" in done.stdout
    assert tags(path) == [{"a": "1"}, {"c": "3"}]


def test_a_deleted_journal_is_told(journal: Journal) -> None:
    journal.path.unlink()
    with pytest.raises(TrackingError, match="was deleted while the run went on"):
        journal.append("tags", g={})


def test_metrics_have_the_line_of_their_event(journal: Journal) -> None:
    values: dict[str, Any] = {"loss": 1 / 3, 'ü\ud800 "': 1e300, "inf": math.inf, "whole": 3}
    for step in (None, -1, 2**62):
        journal.write_metrics(5, step, values)
        journal.write({"k": "metrics", "t": 5, "s": step, "m": values})
    lines = journal.path.read_bytes().splitlines(keepends=True)[-6:]
    assert lines[::2] == lines[1::2]
    assert event_of(lines[0]) == {"k": "metrics", "t": 5, "s": None, "m": values}


def test_a_deleted_journal_is_told_among_many_metrics(journal: Journal) -> None:
    journal.write_metrics(1000, 0, {"loss": 1.0})
    journal.path.unlink()
    journal.write_metrics(1000 + LOOK_EVERY_MS - 1, 1, {"loss": 1.0})
    for time in (1000 + LOOK_EVERY_MS, 5):  # or the clock was set back
        with pytest.raises(TrackingError, match="was deleted while the run went on"):
            journal.write_metrics(time, 2, {"loss": 1.0})


def test_metrics_of_another_process_are_refused_after_the_end(journal: Journal) -> None:
    other = Journal.__new__(Journal)
    other._set_up(journal.path)
    other.write_metrics(1000, 0, {"loss": 1.0})
    other.write_metrics(1001, 1, {"loss": 1.0})
    journal.end("FINISHED")
    with pytest.raises(TrackingError, match="the run has ended"):
        other.write_metrics(1002, 2, {"loss": 1.0})


def test_nothing_is_written_after_the_end(journal: Journal, tmp_path: Path) -> None:
    journal.close()
    journal.close()
    with (tmp_path / "another").open("w") as another:  # it may get the number of the closed file
        with pytest.raises(TrackingError, match="the run has ended"):
            journal.append("tags", g={})
        assert os.fstat(another.fileno()).st_size == 0


def test_no_folder_no_journal(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"no journal at .*: No such file"):
        Journal.create(tmp_path / "missing")


def test_journals_of_one_folder_are_apart(tmp_path: Path) -> None:
    created = [Journal.create(tmp_path) for _ in range(50)]
    assert len({uid_of(journal.path) for journal in created}) == 50
    for journal in created:
        journal.close()


def test_it_is_known_who_writes(journal: Journal) -> None:
    assert is_being_written(journal.path)
    journal.close()
    assert not is_being_written(journal.path)


def test_lines_of_forked_writers_stay_whole(tmp_path: Path) -> None:
    # In a process of its own: that of the tests may hold threads of libraries, which no fork has.
    path = tmp_path / "journal-x.jsonl"
    subprocess.run([sys.executable, "-c", FORKED_WRITERS, path], check=True)
    assert len(tags(path)) == 800


def test_the_file_is_the_users_alone(journal: Journal) -> None:
    assert journal.path.stat().st_mode & 0o077 == 0
