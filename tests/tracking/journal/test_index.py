"""Which rows a journal has, told by its index: exactly what reading all of it tells."""

import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from explr.tracking.client import ExplrTracker
from explr.tracking.journal import index, journal
from explr.tracking.journal.index import PART_BYTES, recorded_steps
from explr.tracking.journal.journal import Journal, end_as_killed
from explr.tracking.journal.lines import line_of, read_events
from explr.tracking.journal.steps import RecordedSteps, pieces_of

SMALL = 4000
"""Bytes of a part, so that few rows make many of them."""

WRITERS = f"""
import os, pathlib, random, signal, sys
from explr.tracking.journal import index, journal
index.PART_BYTES = journal.PART_BYTES = {SMALL}
path = pathlib.Path(sys.argv[1])
parent = journal.Journal(path)
parent.append("metrics", s=0, m={{"begun": 1.0}})
children = []
for number in range(3):
    children.append(os.fork())
    if children[-1] == 0:
        chance = random.Random(number)
        if number == 2:  # as a process that was sent the journal
            journal._of_this_process.clear()
            parent = journal.reopened(path)
        for step in range(1, 2000):
            parent.append("metrics", s=step * 3 + number, m={{"seen": chance.random(), "b": 1.0}})
        os.kill(os.getpid(), signal.SIGKILL)
for child in children[:2]:
    os.waitpid(child, 0)
for step in range(2000):
    parent.append("metrics", s=-step, m={{"late": 0.5}})
os.waitpid(children[2], 0)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (index, journal):
        monkeypatch.setattr(module, "PART_BYTES", SMALL)


def rows_of(path: Path) -> set[tuple[str, int]]:
    """All rows with a step, by reading all of the journal."""
    events = [event for event, _ in read_events(path) if event["k"] == "metrics"]
    return {(name, e["s"]) for e in events if e["s"] is not None for name in e["m"]}


def told(recorded: RecordedSteps, rows: set[tuple[str, int]]) -> set[tuple[str, int]]:
    """Which rows and rows near them are recorded."""
    near = {(name, step + off) for name, step in rows for off in range(-3, 4)}
    return {row for row in near if row in recorded}


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes that are read of journals."""
    lengths: list[int] = []

    def reading(path: Path, offset: int = 0, *rest: Any) -> Iterator[Any]:
        for found in read_events(path, offset, *rest):
            if path.suffix == ".jsonl":
                lengths.append(found.end - offset)
                offset = found.end
            yield found

    monkeypatch.setattr(index, "read_events", reading)
    return lengths


@pytest.mark.slow
def test_a_long_journal_is_short_and_is_not_read(tmp_path: Path, read: list[int]) -> None:
    rows = 50_000
    with closing(Journal.create(tmp_path)) as written:
        tracker = ExplrTracker(written, tmp_path, nullcontext)
        for step in range(rows):
            tracker.log_metric("loss", random.random(), step=step)
        size = written.path.stat().st_size
    assert size / rows < 50
    assert size > 2 * PART_BYTES
    assert sum(read) == 0  # the only writer knows what it has written
    recorded = recorded_steps([written.path])
    assert 0 < sum(read) <= 1.1 * PART_BYTES
    assert told(recorded, rows_of(written.path)) == {("loss", step) for step in range(rows)}
    assert recorded.last == rows - 1


def test_processes_that_write_one_journal_and_are_killed(tmp_path: Path, read: list[int]) -> None:
    path = tmp_path / "journal-x.jsonl"
    done = subprocess.run([sys.executable, "-c", WRITERS, path], check=False)
    assert done.returncode == -9
    rows = rows_of(path)
    assert len(rows) == 1 + 3 * 2 * 1999 + 2000
    assert told(recorded_steps([path]), rows) == rows
    assert sum(read) < path.stat().st_size / 4


def test_threads_that_write_one_journal(tmp_path: Path, small: None) -> None:
    def write(name: str) -> None:
        for step in range(500):
            written.append("metrics", s=step * 7, m={name: 0.5})

    with closing(Journal.create(tmp_path)) as written:
        threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    rows = rows_of(written.path)
    assert len(rows) == 2000
    assert told(recorded_steps([written.path]), rows) == rows


@pytest.fixture
def long(tmp_path: Path, small: None) -> Path:
    """A journal with an index of several lines."""
    chance = random.Random(3)
    with closing(Journal.create(tmp_path)) as written:
        for step in range(600):
            written.append("metrics", s=step, m={"loss": 0.5})
            written.append("metrics", s=None, m={"no step": 0.5})
            written.append("metrics", s=chance.randrange(10_000), m={"odd": 0.5, "ü": 1.0})
            written.append("tags", g={"x": "y" * chance.randrange(50)})
    assert len(written.path.with_suffix(".index").read_bytes().splitlines()) > 5
    return written.path


def removed(path: Path) -> None:
    path.with_suffix(".index").unlink()


def emptied(path: Path) -> None:
    path.with_suffix(".index").write_bytes(b"")


def damaged(path: Path) -> None:
    file = path.with_suffix(".index")
    lines = file.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b'"loss"', b'"lost"')
    file.write_bytes(b"".join(lines))


def torn(path: Path) -> None:
    file = path.with_suffix(".index")
    file.write_bytes(file.read_bytes()[:-20])


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def of_the_first_version(path: Path) -> None:
    removed(path)
    texts = [json.dumps(event).encode() for event, _ in read_events(path)]
    path.write_bytes(b"".join(b"%08x %b\n" % (crc32(text), text) for text in texts))


@pytest.mark.parametrize("harm", [removed, emptied, damaged, torn, cut, of_the_first_version])
def test_without_an_index_that_is_whole_the_journal_is_read(
    long: Path, harm: Callable[[Path], None]
) -> None:
    harm(long)
    rows = rows_of(long)
    for _ in range(2):  # the first time mends the index
        assert told(recorded_steps([long]), rows) == rows


def test_rows_after_the_end_were_refused_and_do_not_count(long: Path) -> None:
    rows = rows_of(long)
    end_as_killed(long)
    with long.open("ab") as file:
        file.write(line_of({"k": "metrics", "t": 1, "s": 5, "m": {"late": 1.0}}))
    assert rows_of(long) == rows
    assert ("late", 5) not in recorded_steps([long])


@pytest.mark.parametrize("seed", range(20))
def test_steps_are_kept_exactly_whatever_they_are(seed: int) -> None:
    chance = random.Random(seed)
    steps: set[int] = set()
    recorded = RecordedSteps()
    for _ in range(30):
        first, distance = chance.randrange(-200, 200), chance.choice([1, 1, 2, 3, 10])
        part = list(range(first, first + distance * chance.randrange(40), distance))
        part += [chance.randrange(-500, 500) for _ in range(chance.randrange(5))]
        chance.shuffle(part)
        steps.update(part)
        recorded.add("a", pieces_of(part))
    assert {step for step in range(-700, 1000) if ("a", step) in recorded} == steps
    assert ("b", 0) not in recorded


def test_regular_steps_are_one_range() -> None:
    assert pieces_of(range(0, 10**5, 10)) == [[0, 99_990, 10]]
    assert pieces_of([5, 3, 9, 9]) == [3, 5, 9]
    assert pieces_of([]) == []
    assert not RecordedSteps()
