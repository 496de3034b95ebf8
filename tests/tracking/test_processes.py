import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from waiting import wait_until

from explr.utils.processes import ProcessIdentity, end, find, identity_of, is_alive, session_of

MARK = ("EXPLR_TEST_MARK", "of-this-test")
# Opens a session, starts a process in it, tells its pid, and waits.
LEADER = (
    "import subprocess, sys\n"
    "child = subprocess.Popen(['sleep', '600'])\n"
    "print(child.pid, flush=True)\n"
    "child.wait()"
)
STUBBORN = (
    "import signal, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('deaf', flush=True)\n"
    "time.sleep(600)"
)

# Its main thread ends, another one goes on.
HEADLESS = (
    "import ctypes, threading, time\n"
    "threading.Thread(target=time.sleep, args=(600,)).start()\n"
    "print('headless', flush=True)\n"
    "ctypes.CDLL(None).pthread_exit(None)"
)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def session() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The leader of a session, and the pid of the other process in it."""
    with subprocess.Popen(
        [sys.executable, "-c", LEADER],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, MARK[0]: MARK[1]},
        start_new_session=True,
    ) as leader:
        assert leader.stdout is not None
        child = int(leader.stdout.readline())
        yield leader, child
        with suppress(ProcessLookupError):
            os.killpg(leader.pid, signal.SIGKILL)


def test_this_process_is_alive():
    assert identity_of() == identity_of(os.getpid())
    assert is_alive(identity_of())


def test_another_process_sees_the_same_identity():
    program = (
        "from explr.utils.processes import *\n"
        f"print(is_alive(ProcessIdentity({os.getpid()}, {identity_of().started!r})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "True"


def test_a_process_that_ended_has_none(sleeper: subprocess.Popen[bytes]):
    identity = identity_of(sleeper.pid)
    sleeper.kill()
    sleeper.wait()
    assert not is_alive(identity)
    with pytest.raises(ProcessLookupError, match=str(sleeper.pid)):
        identity_of(sleeper.pid)


def test_a_zombie_is_dead(sleeper: subprocess.Popen[bytes]):
    identity = identity_of(sleeper.pid)
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)  # ended, and still there
    assert psutil.Process(sleeper.pid).status() == psutil.STATUS_ZOMBIE
    assert not is_alive(identity)


@pytest.mark.skipif(sys.platform != "linux", reason="threads are shown so on Linux")
def test_a_process_without_its_main_thread_is_alive():
    with subprocess.Popen(
        [sys.executable, "-c", HEADLESS], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        identity = identity_of(process.pid)
        seen = psutil.Process(process.pid)
        wait_until(lambda: seen.status() == psutil.STATUS_ZOMBIE)
        assert is_alive(identity)
        assert end([seen], grace_s=60) == []
        assert not is_alive(identity)


def test_a_pid_that_was_given_away_again_is_another_process(sleeper: subprocess.Popen[bytes]):
    identity = identity_of(sleeper.pid)
    assert find(identity) is not None
    assert not is_alive(replace(identity, started=identity_of().started))


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels note the time of day")
def test_a_clock_that_is_set_changes_no_identity(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
):
    identity, started_at = identity_of(sleeper.pid), psutil.Process(sleeper.pid).create_time()
    booted_at = psutil.boot_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: booted_at + 3600)
    assert psutil.Process(sleeper.pid).create_time() == pytest.approx(started_at + 3600, abs=60)
    assert is_alive(identity)
    assert identity_of(sleeper.pid) == identity


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels note the time of day")
def test_the_same_pid_and_tick_after_a_reboot_is_another_process(
    sleeper: subprocess.Popen[bytes],
):
    identity = identity_of(sleeper.pid)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    before = identity.started.replace(boot, str(uuid.uuid4()))
    assert before != identity.started
    assert not is_alive(replace(identity, started=before))


def test_a_name_with_brackets_and_blanks_is_no_harm(tmp_path: Path):
    program = tmp_path / "a) S (b) 1 2"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([str(program), "600"]) as process:
        identity = identity_of(process.pid)
        assert is_alive(identity)
        process.kill()
        process.wait()
        assert not is_alive(identity)


def test_a_session_is_found_with_its_leader(session: tuple[subprocess.Popen[str], int]):
    leader, child = session
    found = session_of(identity_of(leader.pid), MARK)
    assert [process.pid for process in found] == [leader.pid, child]


def test_a_session_is_found_without_its_leader(session: tuple[subprocess.Popen[str], int]):
    leader, child = session
    identity = identity_of(leader.pid)
    leader.kill()
    leader.wait()
    assert [process.pid for process in session_of(identity, MARK)] == [child]
    assert end(session_of(identity, MARK), grace_s=60) == []
    assert session_of(identity, MARK) == []


def test_a_strangers_session_is_not_found(session: tuple[subprocess.Popen[str], int]):
    leader, _ = session
    identity = replace(identity_of(leader.pid), started="before")
    assert session_of(identity, (MARK[0], "of-another")) == []


def test_sigkill_follows_sigterm():
    with subprocess.Popen(
        [sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = find(identity_of(process.pid))
        assert found is not None
        assert end([found], grace_s=0.5) == []
        assert not psutil.pid_exists(process.pid)


def test_what_is_gone_needs_no_end(sleeper: subprocess.Popen[bytes]):
    found = find(identity_of(sleeper.pid))
    assert found is not None
    sleeper.kill()
    sleeper.wait()
    assert end([found], grace_s=60) == []


def test_an_identity_is_a_value():
    assert ProcessIdentity(1, "a") == ProcessIdentity(1, "a")
    assert len({ProcessIdentity(1, "a"), ProcessIdentity(1, "a")}) == 1
