"""Several controllers, one process that their jobs are forked from."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any

import cloudpickle
import psutil
import pytest
from waiting import PATIENCE_S, runs, wait_until

from explr.core.errors import ExplrError
from explr.launching.pool import LocalPool, WorkerDied

# The server cannot import a test module; a user's module lies on `sys.path`.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such sockets")


def work(argument: Any) -> Any:
    """What the jobs of these tests do."""
    if argument == "sleep":
        time.sleep(600)
    if argument == "environment":
        return os.environ["CUDA_VISIBLE_DEVICES"]
    return os.getppid(), argument


@pytest.fixture
def name() -> str:
    return token_hex(8)


@pytest.fixture
def pools(name: str) -> Iterator[list[LocalPool]]:
    """Three that began at the same time."""
    with ThreadPoolExecutor(3) as threads:
        pools = list(threads.map(lambda _: LocalPool(work, [], shared=name), range(3)))
    yield pools
    for pool in pools:
        pool.close()


def ask(pool: LocalPool, argument: Any, **options: Any) -> Any:
    pool.start(1, argument, **options)
    (answer,) = pool.wait(PATIENCE_S)
    assert answer.error is None
    return answer.value


def server_of(pool: LocalPool) -> psutil.Process:
    return psutil.Process(ask(pool, 0)[0])


def dies_at_first(file: Path, starts: int) -> None:
    """The preparation of a server that is killed meanwhile, as often as that."""
    with file.open("a") as made:
        made.write(".")
    if file.stat().st_size <= starts:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False])
def test_a_server_that_is_killed_while_it_starts_is_started_again(
    tmp_path: Path, shared: bool
) -> None:
    # Each of its own name: the one before it may not have ended yet.
    where, elsewhere = [token_hex(8) if shared else None for _ in range(2)]
    with LocalPool(work, [], partial(dies_at_first, tmp_path / "one", 1), shared=where) as pool:
        assert ask(pool, 5)[1] == 5
    always = partial(dies_at_first, tmp_path / "all", 9)
    words = "ended before it was ready" if shared else "ended with code -9"
    with pytest.raises(ExplrError, match=f"the process that jobs start from {words}"):
        LocalPool(work, [], always, shared=elsewhere)
    assert (tmp_path / "all").read_text() == "..."


@pytest.mark.slow
def test_pools_of_one_name_share_a_process(pools: list[LocalPool]) -> None:
    assert [ask(pool, n) for n, pool in enumerate(pools)] == [
        (server_of(pools[0]).pid, n) for n in range(3)
    ]
    with LocalPool(work, [], shared=token_hex(8)) as other, LocalPool(work, []) as alone:
        assert len({server_of(pool).pid for pool in (pools[0], other, alone)}) == 3


def test_jobs_of_one_key_are_told_apart(pools: list[LocalPool]) -> None:
    pools[0].start(1, "sleep")
    pools[1].start(1, "sleep")
    pools[1].stop(1, 0)
    (answer,) = pools[1].wait(PATIENCE_S)
    assert isinstance(answer.error, WorkerDied)
    assert pools[0].wait(0.2) == []
    devices = "CUDA_VISIBLE_DEVICES"
    assert ask(pools[1], "environment", environment={devices: "0"}) == "0"
    assert ask(pools[2], "environment", environment={devices: "1"}) == "1"


def test_who_leaves_takes_the_own_jobs_along_and_nothing_else(pools: list[LocalPool]) -> None:
    server = server_of(pools[0])
    before = server.children()
    pools[0].start(1, "sleep")
    pools[1].start(1, "sleep")
    wait_until(lambda: len(server.children()) == len(before) + 2)
    pools[0].close()
    wait_until(lambda: len(server.children()) == len(before) + 1)
    assert pools[1].wait(0.2) == []
    assert ask(pools[2], 7) == (server.pid, 7)
    pools[1].close()
    pools[2].close()
    wait_until(lambda: not runs(server))


def test_after_a_kill_all_of_them_share_the_next(pools: list[LocalPool]) -> None:
    server = server_of(pools[0])
    for pool in pools:
        pool.start(1, "sleep")
    server.kill()
    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(lambda pool: pool.wait(PATIENCE_S), pools))
    assert [str(answer.error) for (answer,) in answers] == ["killed by signal 9"] * 3
    assert {server_of(pool).pid for pool in pools} == {server_of(pools[0]).pid}
    assert server_of(pools[0]).pid != server.pid


@pytest.mark.slow
def test_nothing_is_left_when_the_starter_and_the_others_are_killed(tmp_path: Path) -> None:
    script = tmp_path / "controller.py"
    script.write_text(
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from explr.launching.pool import LocalPool\n"
        "def work(_):\n"
        "    print(os.getpid(), os.getppid(), flush=True)\n"
        "    time.sleep(600)\n"
        "if __name__ == '__main__':\n"
        "    pool = LocalPool(work, [], shared=sys.argv[1])\n"
        "    pool.start(1, None, output=Path(sys.argv[2]))\n"
        "    pool.wait(None)\n"
    )
    name = token_hex(8)
    controllers, jobs = [], []
    for number in range(2):
        output = tmp_path / str(number)
        controllers.append(subprocess.Popen([sys.executable, script, name, output]))
        wait_until(partial(has_line, output))
        jobs.append([psutil.Process(int(pid)) for pid in output.read_text().split()])
    (first, server), (second, same) = jobs
    assert server == same
    starter = psutil.Process(controllers[0].pid)
    assert starter.children() == []  # Ray ends an actor's children, and others need the server
    kill(controllers[0])
    wait_until(lambda: not runs(first))
    assert runs(second)
    assert runs(server)
    kill(controllers[1])
    wait_until(lambda: not runs(second) and not runs(server))


@pytest.mark.slow
def test_each_is_told_what_is_at_fault(name: str) -> None:
    def prepare() -> None:
        time.sleep(0.2)  # the others come meanwhile
        raise ExplrError("no such training function")

    def begin(_: int) -> str:
        with pytest.raises(ExplrError) as caught:
            LocalPool(work, [], prepare, shared=name)
        return str(caught.value)

    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(begin, range(3))) == ["no such training function"] * 3


def test_a_stranger_who_has_the_name_is_not_trusted(name: str, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can be another user")
    code = (
        "import os, socket, sys, time\n"
        "os.setuid(65534)\n"
        "door = socket.socket(socket.AF_UNIX)\n"
        "door.bind(f'\\0explr-{sys.argv[1]}-bare')\n"
        "door.listen()\n"
        "print(flush=True)\n"
        "time.sleep(600)\n"
    )
    stranger = subprocess.Popen([sys.executable, "-c", code, name], stdout=subprocess.PIPE)
    assert stranger.stdout is not None
    stranger.stdout.readline()
    try:
        with pytest.raises(ExplrError, match="another user"):
            LocalPool(work, [], shared=name)
    finally:
        kill(stranger)


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    with process:
        pass


def has_line(file: Path) -> bool:
    return file.exists() and file.read_text().endswith("\n")
