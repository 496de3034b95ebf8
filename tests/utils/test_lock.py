"""Locks, also on a file system that has none."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from filelock import Timeout

from explr.core.errors import UsageError
from explr.tuning.lock import HOLDER_FILE, sole_controller
from explr.utils import lock
from explr.utils.lock import file_lock, has_locks, lock_file, results_locked


@pytest.fixture(params=["locks", "ENOSYS", "ENOLCK", "EOPNOTSUPP"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What file systems there are: some answer `flock` with an error."""
    monkeypatch.setattr(lock, "_can_lock", {})
    if request.param != "locks":
        number = getattr(errno, request.param)

        def refuse(file: Any, operation: int) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(fcntl, "flock", refuse)
    return str(request.param)


def test_one_holder_at_a_time(system: str, tmp_path: Path) -> None:
    assert has_locks(tmp_path) == (system == "locks")
    with file_lock(tmp_path / "a.lock"), pytest.raises(Timeout):
        file_lock(tmp_path / "a.lock", 0).acquire()
    with file_lock(tmp_path / "a.lock", 0), results_locked(tmp_path):
        pass


def test_a_file_that_a_lock_of_the_kernel_has_left_holds_nothing(
    system: str, tmp_path: Path
) -> None:
    (tmp_path / "a.lock").touch()
    with file_lock(tmp_path / "a.lock", 0):
        pass


def test_a_controller_is_named(system: str, tmp_path: Path) -> None:
    with sole_controller(tmp_path):
        with pytest.raises(UsageError) as caught, sole_controller(tmp_path):
            pass
        assert str(caught.value) == (
            f"the sweep in {tmp_path} is run by process {os.getpid()} on {socket.gethostname()}: "
            "wait for it, or stop it first; if it is gone with its machine, delete "
            f"{lock_file(tmp_path / 'sweep.lock')}"
        )
    with sole_controller(tmp_path):
        pass
    assert not (tmp_path / HOLDER_FILE).exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}'])
def test_a_holder_that_cannot_be_read(tmp_path: Path, content: str) -> None:
    with sole_controller(tmp_path):
        (tmp_path / HOLDER_FILE).write_text(content)
        said = pytest.raises(UsageError, match="is run by another process: wait")
        with said, sole_controller(tmp_path):
            pass


def test_a_lock_of_a_machine_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_can_lock", {os.stat(tmp_path).st_dev: False})
    held = lock_file(tmp_path / "sweep.lock")
    held.write_text("4711\nnode7\n")
    (tmp_path / HOLDER_FILE).write_text(json.dumps({"pid": 4711, "host": "node7"}))
    with pytest.raises(UsageError) as caught, sole_controller(tmp_path):
        pass
    assert "is run by process 4711 on node7: " in str(caught.value)
    assert str(caught.value).endswith(f"if it is gone with its machine, delete {held}")
    held.unlink()
    with sole_controller(tmp_path):
        pass


def test_the_lock_of_a_process_that_was_killed_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_can_lock", {os.stat(tmp_path).st_dev: False})
    code = (
        "import os, sys\n"
        "from filelock import SoftFileLock\n"
        "lock = SoftFileLock(sys.argv[1])\n"
        "lock.acquire()\n"
        "os.kill(os.getpid(), 9)\n"
    )
    held = lock_file(tmp_path / "a.lock")
    subprocess.run([sys.executable, "-c", code, str(held)], check=False)
    assert held.exists()
    with file_lock(tmp_path / "a.lock", 30):
        pass


def test_another_error_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(file: Any, operation: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(lock, "_can_lock", {})
    monkeypatch.setattr(fcntl, "flock", fail)
    said = pytest.raises(UsageError, match=r"cannot be locked: .*sweep\.lock: Input/output error")
    with said, sole_controller(tmp_path):
        pass
