"""Who may write to a folder of checkpoints, and whose unfinished files are deleted."""

from __future__ import annotations

import errno
import fcntl
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from explr.core.checkpoint import Checkpoints
from explr.core.claims import Claim
from explr.core.errors import CheckpointError
from explr.frameworks.none import PickleSerializer

OTHER_RUN = """
import pickle, sys
from pathlib import Path
from explr.core.checkpoint import Checkpoints
from explr.core.claims import own_mark
from explr.core.errors import CheckpointError
from explr.frameworks.none import PickleSerializer

given = sys.argv[2:]
checkpoints = (
    pickle.loads(bytes.fromhex(given[0])) if given
    else Checkpoints(Path(sys.argv[1]), PickleSerializer(), run="the other run")
)
try:
    checkpoints.save("other", 7)
    print(own_mark(), flush=True)
except CheckpointError as error:
    print(error, flush=True)
sys.stdin.read()
"""


@contextmanager
def other_run(folder: Path, *given: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that has saved a checkpoint and runs, and what it printed."""
    with subprocess.Popen(
        [sys.executable, "-c", OTHER_RUN, str(folder), *given],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def checkpoints(folder: Path, run: str | None = "this run") -> Checkpoints:
    return Checkpoints(folder, PickleSerializer(), run=run)


def test_a_second_run_is_refused_by_name_as_long_as_the_first_one_runs(tmp_path: Path) -> None:
    own = checkpoints(tmp_path)
    with other_run(tmp_path) as (other, mark):
        unfinished = tmp_path / f".writing-step-000000007.pkl.{mark}.pkl"
        unfinished.touch()
        with pytest.raises(CheckpointError) as refused:
            own.save("own", 8)
        assert str(refused.value).startswith(
            f"the checkpoints in {tmp_path} are those of another run, which has not ended yet: "
            f"the other run (pid {other.pid} on "
        )
        assert own.load() == (7, "other"), "it may be read"
        checkpoints(tmp_path, run=None).save("beside it", 7)
        assert unfinished.exists(), "its writer runs"
        other.kill()
        other.wait()
    own.save("own", 8)
    assert not unfinished.exists()
    assert own.load() == (8, "own")
    own.close()


def test_processes_of_a_run_share_its_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = checkpoints(tmp_path)
    own.save("own", 6)
    with other_run(tmp_path, pickle.dumps(own).hex()) as (_, said):
        assert "another run" not in said
    child = os.fork()
    if child == 0:
        own.save("child", 9)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert own.load() == (9, "child")
    with other_run(tmp_path) as (_, said):
        assert "this run (pid" in said, "the children have not given the claim back"
    own.close()
    monkeypatch.setenv("MASTER_ADDR", "node1")
    monkeypatch.setenv("MASTER_PORT", "29500")
    own.save("own", 10)
    with other_run(tmp_path) as (_, said):  # another rank, started by torchrun
        assert "another run" not in said
    own.close()


def test_runs_of_one_process_follow_each_other(tmp_path: Path) -> None:
    first, second = checkpoints(tmp_path), checkpoints(tmp_path)
    first.save("first", 1)
    with pytest.raises(CheckpointError, match=f"another run of this process .pid {os.getpid()}"):
        second.save("second", 2)
    second.close()
    with pytest.raises(CheckpointError, match="another run of this process"):
        second.save("second", 2)
    first.close()
    second.save("second", 2)
    second.close()


def test_without_locks_there_are_no_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", no_locks)
    assert Claim(tmp_path / "claim", "one").make() is None
    assert Claim(tmp_path / "claim", "two").make() is None


def test_files_of_processes_that_have_ended_go(tmp_path: Path) -> None:
    with other_run(tmp_path / "elsewhere") as (_, mark):
        pid, _, started = mark.partition("-")
        ended = [f"{pid}-{int(started) + 1}", "4194999-1", "1234", "old"]
        for one in (*ended, mark):
            (tmp_path / f".writing-a.{one}.pkl").touch()
        checkpoints(tmp_path, run=None).save("own", 1)
        assert [path.name for path in tmp_path.glob(".writing-*")] == [f".writing-a.{mark}.pkl"]
