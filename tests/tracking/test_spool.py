import json
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

from explr.core.errors import TrackingError
from explr.tracking.journal import pending as liveness
from explr.tracking.journal.journal import Journal
from explr.tracking.journal.pending import Entry, Liveness, enter, entries, strike_off
from explr.tracking.journal.position import Position, read_position, write_position
from explr.utils.processes import identity_of


def entry(name: str, uri: str = "sqlite:////a.db", **changes: Any) -> Entry:
    me = identity_of()
    given = {
        "journal": f"/somewhere/journal-{name}.jsonl",
        "uri": uri,
        "pid": me.pid,
        "started": me.started,
        "host": socket.gethostname(),
    }
    return Entry(**{**given, **changes})


def test_what_was_entered_first_comes_first(tmp_path: Path) -> None:
    def file_time_ns() -> int:
        (tmp_path / "clock").write_text("")
        return (tmp_path / "clock").stat().st_mtime_ns

    for name in ("b", "a", "c"):
        enter(entry(name))
        entered_ns = file_time_ns()
        wait_until(lambda: file_time_ns() > entered_ns)  # noqa: B023 - waited for at once
    assert [e.uid for e in entries()] == ["b", "a", "c"]


def test_a_list_follows_every_change() -> None:
    assert entries() == []
    for i in range(30):
        enter(entry(str(i)))
        assert len(entries()) == i + 1
    for i in range(30):
        strike_off(entry(str(i)))
        assert len(entries()) == 29 - i
    strike_off(entry("0"))


def test_a_settled_list_still_follows_changes(home: Path) -> None:
    enter(entry("a"))
    old = time.time() - 60
    os.utime(home / "pending", (old, old))
    assert entries() == entries() == [entry("a")]
    enter(entry("a", pid=1))
    assert entries() == [entry("a", pid=1)]
    enter(entry("b"))
    assert len(entries()) == 2


def test_stores_are_apart() -> None:
    enter(entry("a", "sqlite:////a.db"))
    enter(entry("b", "http://b"))
    assert [e.uid for e in entries("http://b")] == ["b"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b'{"uri": 1}'])
def test_a_damaged_entry_hides_no_other(home: Path, content: bytes) -> None:
    enter(entry("a"))
    (home / "pending" / "x.json").write_bytes(content)
    (home / "pending" / ".y.json.123").write_bytes(b"half")
    assert [e.uid for e in entries()] == ["a"]


def test_an_entry_of_a_newer_version_is_understood(home: Path) -> None:
    enter(entry("a"))
    path = home / "pending" / "a.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "new": 1}))
    assert entries() == [entry("a")]


@pytest.mark.slow
def test_thousands_of_entries_are_not_read_again_and_again(home: Path) -> None:
    for i in range(3000):
        enter(entry(f"{i:04}"))
    entries()
    old = time.time() - 60
    os.utime(home / "pending", (old, old))
    entries()
    watching, me = False, threading.get_ident()
    opened: list[str] = []

    def watch(event: str, _: object) -> None:
        if watching and threading.get_ident() == me:
            opened.append(event)

    sys.addaudithook(watch)
    watching = True
    for _ in range(100):
        assert len(entries()) == 3000
    watching = False
    assert not {"open", "os.scandir", "os.listdir"} & set(opened)


def test_a_home_that_cannot_be_used_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("EXPLR_HOME", str(tmp_path / "file" / "x"))
    with pytest.raises(TrackingError, match="set EXPLR_HOME"):
        enter(entry("a"))


def test_a_list_that_cannot_be_written_is_told(home: Path) -> None:
    (home / "pending").touch()
    with pytest.raises(TrackingError, match=r"cannot write .*pending"):
        enter(entry("a"))


def test_a_position_is_kept(tmp_path: Path) -> None:
    journal = tmp_path / "journal-x.jsonl"
    assert read_position(journal) == Position()
    position = Position(12, "run", "3", True, 1, "one is missing", False, "why")
    write_position(journal, position)
    assert read_position(journal) == position
    assert [p.name for p in tmp_path.glob("*x*")] == ["journal-x.position"]


@pytest.mark.parametrize(
    "content",
    [b"", b'{"offset": 1', b"[]", b"3", b'{"offset": "1"}', b"\xff", b'{"run_id": null}'],
)
def test_a_damaged_position_means_the_start(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "journal-x.position").write_bytes(content)
    assert read_position(tmp_path / "journal-x.jsonl") == Position()


def test_a_position_of_another_version_is_understood(tmp_path: Path) -> None:
    (tmp_path / "journal-x.position").write_text('{"offset": 5, "new": 1}')
    assert read_position(tmp_path / "journal-x.jsonl") == Position(5)


def test_a_position_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    journal = tmp_path / "missing" / "journal-x.jsonl"
    with pytest.raises(FileNotFoundError):
        write_position(journal, Position(1))


def test_the_living_and_the_dead() -> None:
    census = Liveness()
    assert not census.is_left(entry("a"))
    assert census.is_left(entry("b", pid=2**22 + 1))
    assert census.is_left(entry("c", started="before"))  # the number is another process's now
    enter(entry("a"))
    enter(entry("b", pid=2**22 + 1))
    assert [e.uid for e in census.left("sqlite:////a.db")] == ["b"]


def test_a_run_of_another_machine_is_left_when_it_is_silent_and_nobody_has_it_open(
    tmp_path: Path,
) -> None:
    census = Liveness()
    journal = Journal.create(tmp_path)
    elsewhere = entry("x", journal=str(journal.path), host="another-machine")
    assert not census.is_left(elsewhere)
    long_ago = time.time() - liveness.ABANDONED_S - 60
    os.utime(journal.path, (long_ago, long_ago))
    assert not census.is_left(elsewhere)
    journal.close()
    assert census.is_left(elsewhere)
    assert not census.is_left(entry("y", host="another-machine"))  # out of sight
