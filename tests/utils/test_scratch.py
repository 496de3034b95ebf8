"""Temporary folders: short enough for sockets, and none is left by a killed process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing.connection import Listener
from pathlib import Path

import pytest

from explr.core.folders import read_json, replace_file
from explr.tuning import channel
from explr.tuning.channel import CHANNEL_VARIABLE, ChannelReporter, ChannelServer
from explr.utils import scratch
from explr.utils.scratch import OWNER, scratch_folder, short_folder

KILLED = """\
import os, signal
from explr.utils.scratch import scratch_folder
folder = scratch_folder()
print(folder.name, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""

SHARES = """\
import multiprocessing.util, sys
from explr.utils.scratch import shorten_socket_paths
shorten_socket_paths()
from multiprocessing.connection import Listener
print(Listener().address)
"""


@pytest.fixture
def usual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    scratch._remove_left_once.cache_clear()
    yield tmp_path
    scratch._remove_left_once.cache_clear()


@pytest.fixture
def long(usual: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files with a path that is too long for sockets."""
    folder = usual / ("long" * 30)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_folder_is_private_and_goes_with_its_block(usual: Path) -> None:
    with scratch_folder() as name:
        assert Path(name).parent == usual
        assert Path(name).stat().st_mode & 0o077 == 0
    assert not Path(name).exists()


def test_what_a_killed_process_left_is_removed_and_nothing_else(usual: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED],
        env={**os.environ, "TMPDIR": str(usual)},
        capture_output=True,
        text=True,
        check=False,
    )
    left = Path(done.stdout.strip())
    assert left.parent == usual
    owner = read_json(left / OWNER)
    assert owner is not None
    kept = [usual / name for name in ("explr-mine", "explr-other", "explr-alive", "other-left")]
    for folder in kept:
        folder.mkdir()
    replace_file(kept[1] / OWNER, {**owner, "machine": "another"})
    replace_file(kept[3] / OWNER, owner)
    with scratch_folder() as alive:
        kept[2].joinpath(OWNER).write_bytes(Path(alive, OWNER).read_bytes())
        scratch._remove_left_once.cache_clear()
        with scratch_folder():
            assert not left.exists()
            assert all(folder.exists() for folder in [*kept, Path(alive)])


def test_a_socket_has_a_short_path_where_temporary_files_have_long_ones(long: Path) -> None:
    with scratch_folder() as name:
        assert Path(name).parent == long
    with scratch_folder("socket") as name:
        Listener(f"{name}/socket").close()
    assert short_folder(1) is None
    with pytest.raises(OSError, match="too long"):
        scratch_folder("x" * 100)


@pytest.mark.usefixtures("long")
@pytest.mark.parametrize("name", ["channel", "x" * 100])
def test_trials_report_where_temporary_files_have_long_paths(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "SOCKET", name)
    heard: list[float] = []
    server = ChannelServer(lambda job, step, value: bool(heard.append(value)))
    try:
        ChannelReporter(server.variable(0)[CHANNEL_VARIABLE]).report(0, 0.5)
        reference = server.reference(0)[CHANNEL_VARIABLE]
        assert reference.startswith("file:")  # the key stays out of the environment
        ChannelReporter(reference).report(1, 0.25)
    finally:
        server.close()
    assert heard == [0.5, 0.25]


@pytest.mark.slow
def test_worker_processes_share_tensors_where_temporary_files_have_long_paths(long: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(long)}
    done = subprocess.run(
        [sys.executable, "-c", SHARES], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not Path(done.stdout.strip()).parent.exists()  # removed at exit
