"""Hashes of data: what they are, what is kept of them, and what is read of DVC's files."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from explr.core.errors import UsageError
from explr.core.folders import DATA
from explr.tracking.data import hashes, kept
from explr.tracking.data.hashes import DataHash, check_paths, hash_paths
from explr.tracking.data.record import note_data, recorded_data

ODD = ["a b", "ä", "sub/.hidden", "sub/z", "back\\slash", "new\nline", os.fsdecode(b"\xff")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "train"
    for at, name in enumerate(ODD):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(bytes([at]) * at)
    return folder


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files whose content has been read."""
    names: list[str] = []

    def hash_of(path: str, original: object = hashes._hash_of) -> str:
        names.append(os.path.basename(path))
        return original(path)  # type: ignore[operator,no-any-return]

    monkeypatch.setattr(hashes, "_hash_of", hash_of)
    monkeypatch.setattr(kept, "SETTLED_NS", -(10**12))  # as if all files had been left alone
    return names


def one(path: str, root: Path) -> DataHash:
    (found,) = hash_paths([path], root)
    return found


@pytest.mark.skipif(shutil.which("b2sum") is None, reason="b2sum of coreutils is not installed")
def test_b2sum_gives_the_same(folder: Path, tmp_path: Path) -> None:
    names = sorted(ODD, key=os.fsencode)
    of_files = subprocess.run(
        ["b2sum", "--length=128", "--", *names], cwd=folder, stdout=subprocess.PIPE, check=True
    )
    of_lines = subprocess.run(
        ["b2sum", "--length=128"], input=of_files.stdout, stdout=subprocess.PIPE, check=True
    )
    found = one("data/train", tmp_path)
    assert found.hash == of_lines.stdout.decode().split()[0]
    assert (found.path, found.source, found.kind) == ("data/train", str(folder), hashes.KIND)
    assert found.size == sum(range(len(ODD)))
    file = one("data/train/a b", tmp_path)
    assert of_files.stdout.startswith(file.hash.encode())
    assert file.size == 0


def test_a_folder_hash_depends_on_names_and_contents_alone(folder: Path, tmp_path: Path) -> None:
    before = one("data/train", tmp_path).hash
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "link").symlink_to(folder)
    assert one("copy", tmp_path).hash == one("link", tmp_path).hash == before
    (folder / "a b").rename(folder / "a c")
    renamed = one("data/train", tmp_path).hash
    (folder / "a c").write_bytes(b"x")
    assert len({before, renamed, one("data/train", tmp_path).hash}) == 3


def test_an_unchanged_file_is_read_once(folder: Path, tmp_path: Path, read: list[str]) -> None:
    first = one("data/train", tmp_path)
    assert len(read) == len(ODD)
    assert one("data/train", tmp_path) == first
    assert len(read) == len(ODD)
    stamp = (folder / "ä").stat()
    (folder / "ä").write_bytes(b"\2")  # of the same length, and set back to the same time
    os.utime(folder / "ä", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    (folder / "sub" / "z").unlink()
    changed = one("data/train", tmp_path)
    assert read[len(ODD) :] == ["ä"]
    assert changed.hash != first.hash


def test_a_file_that_has_just_changed_is_read_again(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"1")
    one("f", tmp_path)
    with kept._opened() as database:
        assert database.execute("SELECT * FROM files").fetchall() == []


def test_only_its_user_reads_what_is_kept(tmp_path: Path, folder: Path, home: Path) -> None:
    before = os.umask(0)
    try:
        one("data/train", tmp_path)
    finally:
        os.umask(before)
    assert (home / kept.FILE).stat().st_mode & 0o077 == 0


def test_a_damaged_cache_is_begun_anew(
    tmp_path: Path, folder: Path, home: Path, read: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    first = one("data/train", tmp_path)
    (home / kept.FILE).write_bytes(b"no database, " * 100)
    with caplog.at_level(logging.WARNING):
        assert one("data/train", tmp_path) == first
    assert "are not kept" in caplog.text
    assert one("data/train", tmp_path) == first
    assert len(read) == 2 * len(ODD)


def test_what_takes_long_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import threading

    (tmp_path / "f").write_bytes(b"12345")
    told = threading.Event()

    class Watching(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.set()

    monkeypatch.setattr(hashes, "SILENT_S", 0.0)
    original = hashes._hash_of
    monkeypatch.setattr(hashes, "_hash_of", lambda path: told.wait(60) and original(path))
    handler = Watching()
    hashes.log.addHandler(handler)
    try:
        with caplog.at_level(logging.INFO):
            one("f", tmp_path)
    finally:
        hashes.log.removeHandler(handler)
    assert caplog.messages == [f"hashing 0.0 GB of data: {tmp_path / 'f'}"]


def test_pipes_and_dead_links_are_left_out(
    tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = one("data/train", tmp_path)
    os.mkfifo(folder / "pipe")
    (folder / "dead").symlink_to("nowhere")
    with caplog.at_level(logging.WARNING):
        assert one("data/train", tmp_path) == before
    assert "'dead', 'pipe'" in caplog.text


DVC = "outs:\n- md5: 0123abcd.dir\n  size: 7\n  nfiles: 2\n  hash: md5\n  path: train\n"
LOCK = """
schema: '2.0'
stages:
  clean:
    cmd: python clean.py
    deps: [{path: raw.csv, md5: feed, size: 1}]
    outs:
    - {path: clean.csv, hash: md5, md5: '77', size: 3}
  fit:
    cmd: python fit.py
    outs:
    - {path: out/model.pt, md5: '88'}
"""


def test_of_dvc_its_own_hashes_are_taken(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.dvc").write_text(DVC)
    (tmp_path / "dvc.lock").write_text(LOCK)
    source = str(tmp_path / "data" / "train")  # which is not there
    assert hash_paths(["data/train.dvc", "dvc.lock"], tmp_path) == [
        DataHash("data/train.dvc", "0123abcd.dir", "md5", source, 7),
        DataHash("dvc.lock:clean.csv", "77", "md5", str(tmp_path / "clean.csv"), 3),
        DataHash("dvc.lock:out/model.pt", "88", "md5", str(tmp_path / "out/model.pt"), None),
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [("outs: [", "cannot be read"), ("outs: [{path: a}]", "has no hash"), ("3", "has no hash")],
)
def test_a_file_of_dvc_without_hashes(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "a.dvc").write_text(content)
    with pytest.raises(UsageError, match=said):
        check_paths(["a.dvc"], tmp_path)


def test_every_missing_path_is_named(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    with pytest.raises(UsageError, match=r"^data\.paths names a and b/c, and there is no such"):
        check_paths(["a", "there", "b/c"], tmp_path)


def test_a_trial_takes_what_its_sweep_has_hashed(tmp_path: Path, read: list[str]) -> None:
    (tmp_path / "f").write_bytes(b"1")
    (tmp_path / "g").write_bytes(b"1")
    sweep, trial = tmp_path / "sweep", tmp_path / "sweep" / "0"
    trial.mkdir(parents=True)
    noted = note_data(["f"], sweep, tmp_path)
    assert read == ["f"]
    (tmp_path / "f").unlink()  # nobody looks
    assert note_data(["f"], trial, tmp_path, sweep=sweep) == noted == recorded_data(trial)
    assert [each.path for each in note_data(["g"], trial, tmp_path, sweep=sweep)] == ["g"]
    assert read == ["f", "g"]


def test_changed_data_is_told_when_a_run_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in "fgh":
        (tmp_path / name).write_text("1")
    run = tmp_path / "run"
    run.mkdir()
    note_data(["f", "g"], run, tmp_path, resumes="this training")
    note_data(["f", "g", "h"], run, tmp_path, resumes="this training")
    assert caplog.messages == []
    for name in "fg":
        (tmp_path / name).write_text("2")
    note_data(["f", "g"], run, tmp_path, resumes="this training")
    note_data(["f", "g"], run, tmp_path, resumes="this training")  # goes on with what is told
    assert caplog.messages == ["this training began with other data: changed since: f, g"]


def test_nothing_is_written_without_data(tmp_path: Path) -> None:
    assert note_data([], tmp_path, tmp_path) == []
    assert not (tmp_path / DATA).exists()
