"""Artifacts are a set: each has its own fate, whatever becomes of the others."""

from __future__ import annotations

import os
import random
import shutil
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from memory_sink import SCHEME, URI, FakeClock, Memory, MemorySink

from explr.runner.cli.sync import sync_journals
from explr.tracking.journal import items as items_module
from explr.tracking.journal.items import read_items
from explr.tracking.journal.pending import entries
from explr.tracking.journal.position import read_position
from explr.tracking.run import closing_line
from explr.tracking.shipping.files import AT_ONCE, AWAY_AFTER
from explr.tracking.shipping.run_upload import MISSING_TAG
from explr.tracking.shipping.shipper import Shipper
from explr.tracking.shipping.sink import Refused, SinkSlow, SinkUnavailable
from explr.tracking.shipping.sinks import SINKS
from explr.tracking.tree import files_below

Begin = Callable[..., Any]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def memory(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Memory:
    memory = Memory(clock)
    monkeypatch.setitem(SINKS, SCHEME, lambda uri: MemorySink(memory, uri))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", URI)
    return memory


@pytest.fixture
def begin(kit: Any, tmp_path: Path) -> Begin:
    return lambda folder="run", **changes: kit.begin(tmp_path / folder, URI, **changes)


@pytest.fixture
def follow(memory: Memory, clock: FakeClock) -> Callable[[float], None]:
    """Uploads as a companion does whose process lives for some seconds."""

    def follow(seconds: float) -> None:
        until = clock.now_s + seconds
        alive = lambda: clock.now_s < until  # noqa: E731
        Shipper(MemorySink(memory), alive, None, clock, are_cores_busy=lambda: False).run()

    return follow


def finished(begin: Begin, *names: str, **changes: Any) -> Any:
    """A run that has logged texts and ended."""
    run = begin(**changes)
    for name in names:
        run.tracker.log_text(name, name)
    run.close("FINISHED")
    return run


def uploads(memory: Memory) -> int:
    return sum(call.startswith("upload") for call in memory.calls)


# What is refused, and what is not there


def test_a_refused_file_is_named_and_holds_up_nothing(
    memory: Memory, begin: Begin, follow: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    memory.failing["upload big.bin"] = Refused("413 Too Large")
    run = finished(begin, "a.txt", "big.bin", "z.txt")
    follow(5.0)
    seen = memory.run("run")
    assert (seen.status, sorted(seen.files)) == ("FINISHED", ["a.txt", "z.txt"])
    assert entries() == []
    missing = "1 artifact is missing: big.bin (413 Too Large)"
    assert closing_line(run) == f"MLflow: {URI}/digits/run-0; {missing}"
    assert seen.tags[MISSING_TAG] == missing
    assert uploads(memory) == 3
    # It is tried again on demand, as often as that.
    assert sync_journals(tmp_path) == 1
    assert missing in capsys.readouterr().err
    assert uploads(memory) == 4
    memory.come_back()
    assert sync_journals(tmp_path) == 0
    assert sorted(seen.files) == ["a.txt", "big.bin", "z.txt"]
    assert (seen.status, seen.tags[MISSING_TAG]) == ("FINISHED", "nothing")
    assert closing_line(run) == f"MLflow: {URI}/digits/run-0"
    assert sync_journals(tmp_path) == 0
    assert uploads(memory) == 5


def test_what_is_refused_for_all_is_named_and_sent_when_that_is_mended(
    memory: Memory, begin: Begin, follow: Any, tmp_path: Path
) -> None:
    memory.failing["upload"] = Refused("404 Not Found")
    run = finished(begin, *"abcdef")
    follow(5.0)
    named = "a (404 Not Found), b (404 Not Found), c (404 Not Found) and 3 more"
    assert closing_line(run).endswith(f"; 6 artifacts are missing: {named}")
    memory.come_back()
    assert sync_journals(tmp_path) == 0
    assert sorted(memory.run("run").files) == list("abcdef")


def test_a_missing_permission_is_no_refusal_while_it_holds_for_all(
    memory: Memory, begin: Begin, follow: Any, clock: FakeClock
) -> None:
    denied = Refused("403 Forbidden", certain=False)
    run = begin()
    run.tracker.log_text("1", "a.txt")
    follow(1.0)
    memory.failing["upload"] = denied  # a token that has expired, say
    for name in ("b.txt", "c.txt"):
        run.tracker.log_text("2", name)
    run.close("FINISHED")
    follow(1.0)
    position = read_position(run.journal.path)
    assert (position.waiting, position.missing) == (2, "")
    assert position.error.endswith("b.txt is not uploaded: 403 Forbidden")
    memory.failing = {"upload b.txt": denied}  # now it is about one file
    follow(20.0)
    assert sorted(memory.run("run").files) == ["a.txt", "c.txt"]
    assert read_position(run.journal.path).missing.endswith("b.txt (403 Forbidden)")
    assert entries() == []


def test_a_file_that_fails_for_now_lets_all_others_pass(
    memory: Memory, begin: Begin, follow: Any, clock: FakeClock
) -> None:
    memory.failing["upload 0"] = SinkUnavailable("500")
    run = finished(begin, *map(str, range(3)))
    clock.at(40.0, memory.come_back)
    sent: list[list[str]] = []
    clock.at(1.0, lambda: sent.append(sorted(memory.run("run").files)))
    follow(60.0)
    assert sent == [["1", "2"]]
    assert sorted(memory.run("run").files) == ["0", "1", "2"]
    assert uploads(memory) <= 3 + 8  # the pauses grow
    assert entries() == []
    assert read_position(run.journal.path).error == ""


@pytest.mark.parametrize("answers", [True, False])
def test_a_sink_that_takes_no_files_is_not_asked_for_each(
    memory: Memory, begin: Begin, clock: FakeClock, answers: bool
) -> None:
    memory.failing["upload"] = SinkUnavailable("503")
    if not answers:
        memory.failing["check"] = SinkUnavailable("503")
    finished(begin, *(f"{i}.txt" for i in range(50)))
    Shipper(MemorySink(memory), None, None, clock).run()
    assert uploads(memory) == (AWAY_AFTER if answers else 1)
    assert memory.run("run").status == "FINISHED"
    memory.come_back()
    Shipper(MemorySink(memory), None, None, clock).run()
    assert len(memory.run("run").files) == 50


def test_a_deleted_file_is_named_once_and_not_waited_for(
    memory: Memory, begin: Begin, follow: Any, tmp_path: Path
) -> None:
    run = finished(begin, "a.txt", "b.txt")
    (tmp_path / "run" / "artifacts" / "a.txt").unlink()
    follow(2.0)
    assert closing_line(run).endswith("; 1 artifact is missing: a.txt (deleted before its upload)")
    assert list(memory.run("run").files) == ["b.txt"]
    assert entries() == []
    assert sync_journals(tmp_path) == 1
    (tmp_path / "run" / "artifacts" / "a.txt").write_text("restored")
    assert sync_journals(tmp_path) == 0
    assert memory.run("run").files["a.txt"] == b"restored"


def test_the_closing_line_of_a_sweep_names_what_its_trials_lack(
    memory: Memory, begin: Begin, follow: Any
) -> None:
    memory.failing["upload"] = Refused("413 Too Large")
    sweep = begin("sweep")
    for place in ("0", "1/0"):
        finished(lambda place=place: begin(f"sweep/{place}"), "x.txt")
    sweep.close("FINISHED")
    follow(2.0)
    missing = "1 artifact is missing: x.txt (413 Too Large); 2 runs lack some"
    assert closing_line(sweep) == f"MLflow: {URI}/digits/run-0; {missing}"


# What is kept between processes


def test_a_file_outside_of_the_runs_folder_is_not_sent(
    memory: Memory, begin: Begin, follow: Any, tmp_path: Path
) -> None:
    """A journal that somebody else has written may name any file."""
    outside = tmp_path / "outside.txt"
    outside.write_text("nobody's business")
    run = begin("run")
    run.tracker.log_text("1", "a.txt")
    (tmp_path / "run" / "artifacts" / "link.txt").symlink_to(outside)
    for place in (str(outside), "../outside.txt", "artifacts/link.txt"):
        run.journal.append("artifact", f=place, d="")
    run.close("FINISHED")
    follow(2.0)
    assert list(memory.run("run").files) == ["a.txt"]
    assert "(it lies outside of the run's folder)" in closing_line(run)


def test_what_is_owed_is_sent_from_a_copied_folder(
    memory: Memory, begin: Begin, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "sweep" / "0" / "weights.pt"
    sweep = begin("sweep")
    trial = begin("sweep/0", parent=sweep.journal.path, name="trial")
    model.write_bytes(b"123")
    trial.tracker.log_text("1", "a.txt")
    sweep.register("digits", model, "the best", trial.journal.path)
    for run in (trial, sweep):
        run.close("FINISHED")
    memory.failing = dict.fromkeys(("upload", "register"), SinkUnavailable("away"))
    assert sync_journals(None) == 1
    memory.come_back()
    shutil.copytree(tmp_path / "sweep", tmp_path / "there" / "sweep")
    shutil.rmtree(tmp_path / "sweep")
    shutil.rmtree(home / "pending")
    assert sync_journals(tmp_path / "there") == 0
    assert memory.run("trial").files == {"a.txt": b"1", "model/weights.pt": b"123"}
    assert "2 runs uploaded, 0 left." in capsys.readouterr().out


def test_a_trial_finds_its_sweep_in_a_copied_folder(
    memory: Memory, begin: Begin, home: Path, tmp_path: Path
) -> None:
    sweep = begin("sweep")
    trial = begin("sweep/0", parent=sweep.journal.path, name="trial")
    for run in (sweep, trial):
        run.close("FINISHED")
    shutil.rmtree(home / "pending")
    (tmp_path / "sweep").rename(tmp_path / "copy")
    memory.failing["find"] = SinkUnavailable("nobody needs to look for it")
    assert sync_journals(tmp_path / "copy") == 0
    assert memory.run("trial").parent_id == memory.run("sweep").run_id


@pytest.mark.parametrize("damage", ["items", "no items", "position of an older version"])
def test_what_is_owed_survives_damage(
    memory: Memory, begin: Begin, tmp_path: Path, damage: str
) -> None:
    memory.failing["upload"] = SinkUnavailable("away")
    run = finished(begin, "a.txt", "b.txt")
    assert sync_journals(None) == 1
    items = run.journal.path.with_suffix(".items")
    if damage == "items":
        items.write_bytes(items.read_bytes()[:-5])
    else:
        items.unlink()
    if damage == "position of an older version":
        position = run.journal.path.with_suffix(".position")
        old = '"owed": [["/gone/artifacts/a.txt", ""], ["/gone/artifacts/b.txt", ""]]'
        position.write_text(position.read_text().replace('"waiting": 2', old))
    memory.come_back()
    assert sync_journals(None) == 0
    assert sorted(memory.run("run").files) == ["a.txt", "b.txt"]
    assert len(memory.runs) == 1


def test_thousands_of_artifacts_are_not_written_down_for_each(
    memory: Memory, begin: Begin, follow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    replace = items_module.replace_file
    monkeypatch.setattr(
        items_module, "replace_file", lambda file, content: written.append(replace(file, content))
    )
    count = 8 * AT_ONCE
    run = begin()
    for i in range(count):
        (run.journal.path.parent / f"{i}.txt").write_text("")
        run.journal.append("artifact", f=f"{i}.txt", d="")
    run.close("FINISHED")
    follow(60.0)
    assert uploads(memory) == len(memory.run("run").files) == count
    assert len(written) <= count / AT_ONCE + 5
    assert read_items(run.journal.path) is not None
    assert memory.calls[-1] == "contents run"  # after all of them


# A file that changes


def test_a_file_that_was_logged_thirty_times_is_sent_once(
    memory: Memory, begin: Begin, follow: Any, clock: FakeClock
) -> None:
    run = begin()
    for i in range(30):
        run.tracker.log_text(str(i), "plot.svg")
        run.tracker.log_metric("loss", i, i)
    follow(1.0)
    assert memory.run("run").files == {"plot.svg": b"29"}
    assert uploads(memory) == 1
    again = lambda: run.tracker.log_text("30", "plot.svg")  # noqa: E731
    clock.at(clock.now_s + 1.0, again)
    same = lambda: run.journal.append("artifact", f="artifacts/plot.svg", d="")  # noqa: E731
    clock.at(clock.now_s + 2.0, same)
    run.tracker.log_text("30", "another.svg")
    follow(5.0)
    assert memory.run("run").files == {"plot.svg": b"30", "another.svg": b"30"}
    assert uploads(memory) == 3
    run.close("FINISHED")


def test_a_file_that_changes_during_its_upload_ends_as_its_last_version(
    memory: Memory, begin: Begin, follow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begin()
    run.tracker.log_text("first", "a.txt")
    upload = MemorySink.upload

    def change(sink: MemorySink, run_id: str, path: Path, folder: str) -> None:
        with path.open() as file:
            monkeypatch.setattr(MemorySink, "upload", upload)
            run.tracker.log_text("later", "a.txt")
            assert file.read() == "first"  # whole, and not half of each
        upload(sink, run_id, path, folder)

    monkeypatch.setattr(MemorySink, "upload", change)
    follow(5.0)
    assert memory.run("run").files == {"a.txt": b"later"}


# Folders with whatever is in them


def fill(folder: Path) -> tuple[list[str], list[str]]:
    """A folder with odd contents: the files in it, and what is no file."""
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "deep" / "b#1.txt").write_text("b")
    (folder / "link.txt").symlink_to("a.txt")
    (folder / "deep" / "up").symlink_to("..")
    (folder / "itself").symlink_to("itself")
    (folder / "dangling").symlink_to("nowhere")
    (folder / "device").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(folder)  # the path of a socket is short
        listener.bind("socket")
        os.chdir(here)
    files = ["a.txt", "deep/b#1.txt", "link.txt"]
    return files, ["dangling", "deep/up", "device", "itself", "pipe", "socket"]


def test_a_folder_is_kept_without_what_is_no_file(
    memory: Memory, begin: Begin, follow: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files, skipped = fill(tmp_path / "out")
    assert files_below(tmp_path / "out") == (files, skipped)
    run = begin()
    run.tracker.log_artifact(tmp_path / "out")
    told = [record.getMessage() for record in caplog.records]
    assert [
        text.partition(" is kept without ")[2] for text in told if "is kept without" in text
    ] == ["'dangling', 'deep/up', 'device' and 3 more: only files that can be read are"]
    for name in ("pipe", "socket"):
        with pytest.raises(ValueError, match="neither a file nor a folder"):
            run.tracker.log_artifact(tmp_path / "out" / name)
    run.close("FINISHED")
    follow(2.0)
    (odd,) = [name for name in memory.run("run").files if "#" not in name and "b_1" in name]
    assert sorted(memory.run("run").files) == sorted(["out/a.txt", "out/link.txt", odd])


def test_a_folder_that_is_not_copied_is_sent_without_what_is_no_file(
    memory: Memory, begin: Begin, follow: Any, tmp_path: Path
) -> None:
    files, _ = fill(tmp_path / "run" / "saved")
    finished(begin, first_files=(tmp_path / "run" / "saved",))
    follow(2.0)
    assert sorted(memory.run("run").files) == [f"saved/{name}" for name in files]


def test_one_file_of_a_folder_is_refused_alone(
    memory: Memory, begin: Begin, follow: Any, tmp_path: Path
) -> None:
    memory.failing["upload a.txt"] = Refused("413 Too Large")
    (tmp_path / "out").mkdir()
    for name in ("a.txt", "b.txt"):
        (tmp_path / "out" / name).write_text(name)
    run = begin()
    run.tracker.log_artifact(tmp_path / "out")
    run.close("FINISHED")
    follow(2.0)
    assert list(memory.run("run").files) == ["out/b.txt"]
    assert "out/a.txt (413 Too Large)" in closing_line(run)


def test_odd_names_of_artifacts_are_told_a_few_times(
    memory: Memory, begin: Begin, follow: Any, caplog: pytest.LogCaptureFixture
) -> None:
    run = begin()
    chance = random.Random(3)
    names = {f"{''.join(chance.choices('#%?é .', k=5))}{i}.txt" for i in range(50)}
    names |= {"é" * 200 + ".txt", "a" * 300}
    for name in sorted(names) * 2:
        run.tracker.log_text(name, name)
    run.close("FINISHED")
    follow(2.0)
    assert {content.decode() for content in memory.run("run").files.values()} == names
    told = [r.getMessage() for r in caplog.records if "MLflow takes no artifact" in r.getMessage()]
    assert len(told) == 3
    assert told[2].endswith("; further names are changed without a message")


# Whatever happens


class Killed(BaseException):
    """Stands for a SIGKILL: nobody catches it."""


@pytest.mark.parametrize("seed", range(10))
def test_faults_at_random_lose_and_double_nothing(
    memory: Memory, begin: Begin, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    names = [f"{i}.txt" for i in range(chance.randint(1, 30))]
    refused = set(chance.sample(names, len(names) // 2))
    calm = False
    upload = MemorySink.upload

    def faulty(sink: MemorySink, run_id: str, path: Path, folder: str) -> None:
        drawn = 1.0 if calm else chance.random()
        if drawn < 0.3:
            raise SinkUnavailable("500")
        if path.name in refused:
            raise Refused("413")
        upload(sink, run_id, path, folder)
        if drawn < 0.35:
            raise Killed

    monkeypatch.setattr(MemorySink, "upload", faulty)
    run = begin()
    for name in chance.choices(names, k=len(names)) + names:
        run.tracker.log_text(f"{name} {chance.random()}", name)
        run.tracker.log_metric("loss", 1.0, len(name))
    run.close("FINISHED")
    for attempt in range(20):
        calm = attempt > 10
        with suppress(Killed):
            Shipper(MemorySink(memory), None, None, clock).run()
    here = run.journal.path.parent / "artifacts"
    wanted = {name: (here / name).read_bytes() for name in names if name not in refused}
    assert memory.run("run").files == wanted
    items = read_items(run.journal.path)
    assert items is not None
    assert set(items.refused) == refused
    assert read_position(run.journal.path).done
    assert entries() == []


# A slow sink


def test_a_slow_sink_is_waited_for_by_who_asks_for_the_upload(
    memory: Memory, begin: Begin, clock: FakeClock
) -> None:
    finished(begin, "a.txt")
    memory.failing = dict.fromkeys(("connect", "send", "check"), SinkSlow("no answer"))
    clock.at(5.0, lambda: memory.failing.pop("connect"))
    clock.at(10.0, memory.come_back)
    Shipper(MemorySink(memory), None, None, clock).run()
    assert memory.run("run").status == "FINISHED"
    assert entries() == []
