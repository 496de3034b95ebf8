"""Jobs in fresh processes: answers, deaths, stops, and nothing left behind."""

import atexit
import ctypes
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import psutil
import pytest
from waiting import PATIENCE_S, runs, wait_until

from explr.core.errors import ExplrError
from explr.launching.pool import Answer, LocalPool, WorkerDied

# The server cannot import a test module; a user's module lies on `sys.path`.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


class KillsWhenFlushed:
    """Takes the place of the standard output that a job flushes on its way out."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Changes(Exception):
    """Unpickled, it is another exception."""

    def __init__(self, text: str = "cold") -> None:
        super().__init__(f"too {text}")


class Holds(Exception):
    """Holds what cannot be pickled."""

    def __init__(self) -> None:
        super().__init__("held")
        self.frame = sys._getframe()


class Noted(Exception):
    """Has an attribute and a note."""

    def __init__(self, text: str = "noted") -> None:
        super().__init__(text)
        self.code = 7
        self.add_note("a note")


FAULTS = {"changes": Changes, "holds": Holds, "noted": Noted}


def work(order: tuple[str, Any]) -> Any:
    """What the jobs of these tests do."""
    what, argument = order
    if what == "echo":
        return argument
    if what == "pid":
        return os.getpid()
    if what == "raise":
        raise ValueError(argument)
    if what == "fail":
        raise FAULTS[argument]() from LookupError("why")
    if what == "die":
        os.kill(os.getpid(), argument)
    if what == "environment":
        return os.environ.get(argument)
    if what == "draw":
        import random

        import numpy.random

        return random.random(), numpy.random.rand()
    if what == "print":
        print(argument)
        return None
    if what == "child":
        return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid
    if what == "daemon":
        import multiprocessing

        process = multiprocessing.get_context("fork").Process(target=print)
        process.start()
        process.join()
        return process.exitcode
    if what == "answer and die":
        sys.stdout = KillsWhenFlushed()  # type: ignore[assignment]
        return argument
    if what == "ignore":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        Path(argument).touch()
    if what == "wait for":
        wait_until(Path(argument).exists)
        return argument
    if what == "exit":
        atexit.register(Path(argument).touch)
        ctypes.CDLL(None).printf(b"never flushed\n")
        return None
    time.sleep(600)
    return None


@pytest.fixture(scope="module")
def pool() -> Iterator[LocalPool]:
    with LocalPool(work, []) as pool:
        yield pool


def ask(pool: LocalPool, what: str, argument: Any = None, **options: Any) -> Answer:
    pool.start(1, (what, argument), **options)
    (answer,) = pool.wait(PATIENCE_S)
    return answer


def test_a_job_returns_what_the_function_returns(pool: LocalPool) -> None:
    assert ask(pool, "echo", {"a": [1, None]}) == Answer(1, {"a": [1, None]})


def test_each_job_has_a_process_of_its_own(pool: LocalPool) -> None:
    pids = {ask(pool, "pid").value for _ in range(5)}
    assert len(pids) == 5
    assert os.getpid() not in pids


def test_each_job_draws_numbers_of_its_own() -> None:
    with LocalPool(work, ["numpy.random"]) as pool:  # else each job would import it anew
        drawn = [ask(pool, "draw").value for _ in range(2)]
    assert len({number for numbers in drawn for number in numbers}) == 4


def test_an_exception_is_the_answer(pool: LocalPool) -> None:
    answer = ask(pool, "raise", "oops")
    assert isinstance(answer.error, ValueError)
    assert str(answer.error) == "oops"


@pytest.mark.parametrize(
    ("fault", "text"),
    [("changes", "Changes: too cold"), ("holds", "Holds: held"), ("noted", "noted")],
)
def test_an_exception_has_its_traceback_and_its_cause(
    pool: LocalPool, fault: str, text: str
) -> None:
    error = ask(pool, "fail", fault).error
    assert error is not None
    assert str(error) == text
    assert repr(error.__cause__) == "LookupError('why')"
    frame = traceback.extract_tb(error.__traceback__)[-1]  # of a function that was sent
    assert (frame.filename, frame.name) == (__file__, "work")
    if isinstance(error, Noted):
        assert (error.code, error.__notes__) == (7, ["a note"])
    else:
        assert isinstance(error, ExplrError)


def test_a_killed_job_is_told_with_its_signal(pool: LocalPool) -> None:
    answer = ask(pool, "die", signal.SIGKILL)
    assert isinstance(answer.error, WorkerDied)
    assert str(answer.error) == "killed by signal 9"


def test_a_job_that_is_killed_after_its_answer_has_answered(pool: LocalPool) -> None:
    assert ask(pool, "answer and die", 0.5) == Answer(1, 0.5)


def test_variables_are_set_in_the_job_alone(pool: LocalPool) -> None:
    variable = "CUDA_VISIBLE_DEVICES"
    assert ask(pool, "environment", variable, environment={variable: "7"}).value == "7"
    assert ask(pool, "environment", variable).value == os.environ.get(variable)


def test_output_goes_to_the_jobs_own_file(pool: LocalPool, tmp_path: Path) -> None:
    output = tmp_path / "new folder" / "output.log"
    ask(pool, "print", "hello", output=output)
    assert output.read_text() == "hello\n"


def test_a_job_may_have_children_as_data_loaders_need_them(pool: LocalPool) -> None:
    assert ask(pool, "daemon").value == 0


def test_what_a_job_leaves_running_ends_with_it(pool: LocalPool) -> None:
    child = ask(pool, "child").value
    wait_until(lambda: not runs(child))


def test_the_first_to_end_is_told_while_others_run(pool: LocalPool) -> None:
    pool.start(1, ("sleep", None))
    pool.start(2, ("echo", "quick"))
    assert pool.wait(PATIENCE_S) == [Answer(2, "quick")]
    pool.stop(1, 0)
    assert [answer.key for answer in pool.wait(PATIENCE_S)] == [1]


def test_waiting_ends_after_its_time_with_nothing(pool: LocalPool) -> None:
    pool.start(1, ("sleep", None))
    assert pool.wait(0.01) == []
    pool.stop(1, 600)
    (answer,) = pool.wait(PATIENCE_S)
    assert isinstance(answer.error, KeyboardInterrupt)


def test_a_job_that_ignores_the_first_signal_is_killed(pool: LocalPool, tmp_path: Path) -> None:
    there = tmp_path / "there"
    pool.start(1, ("ignore", str(there)))
    wait_until(there.exists)
    pool.stop(1, 0.2)
    (answer,) = pool.wait(PATIENCE_S)
    assert isinstance(answer.error, WorkerDied)


def test_a_job_may_end_by_itself_before_it_is_interrupted(pool: LocalPool, tmp_path: Path) -> None:
    there = tmp_path / "there"
    pool.start(1, ("wait for", str(there)))
    pool.stop(1, 600, patience_s=600)
    there.touch()
    assert pool.wait(PATIENCE_S) == [Answer(1, str(there))]


def test_a_job_ends_as_an_interpreter_does(pool: LocalPool, tmp_path: Path) -> None:
    handled, output = tmp_path / "handled", tmp_path / "output"
    assert ask(pool, "exit", str(handled), output=output).error is None
    assert handled.exists()
    assert output.read_text() == "never flushed\n"


HANDLERS = """\
import atexit
import os
import tempfile
from pathlib import Path

shared = tempfile.TemporaryDirectory()  # belongs to the process that has imported this


@atexit.register
def say() -> None:
    Path(os.environ["HANDLED"], f"{os.getpid()}-{Path(shared.name).exists()}").touch()
"""


def test_exit_handlers_of_the_users_modules_run_in_each_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "handlers_of_mine.py").write_text(HANDLERS)
    monkeypatch.syspath_prepend(str(tmp_path))
    handled = tmp_path / "handled"
    handled.mkdir()
    monkeypatch.setenv("HANDLED", str(handled))
    with LocalPool(work, ["handlers_of_mine"]) as pool:
        pids = [ask(pool, "pid").value for _ in range(2)]
    assert {path.name for path in handled.iterdir()} == {f"{pid}-True" for pid in pids}


ASKS_FOR_CUDA = """
import os
import torch

driver = set()

def count():
    driver.add(os.getpid())  # the question starts CUDA
    return 1

torch._C._cuda_getDeviceCount = count
torch.cuda._device_count_nvml = lambda: 1
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
"""
USES_CUDA = (
    ASKS_FOR_CUDA
    + """
driver.add(os.getpid())
torch.cuda._initialized = True
"""
)


def started_cuda_elsewhere(name: str) -> tuple[str, bool]:
    """The device that a training's module has chosen, and whether CUDA works no more here."""
    import importlib

    module = importlib.import_module(name)
    return module.DEVICE, not module.driver <= {os.getpid()}


@pytest.mark.slow
@pytest.mark.parametrize("code", [ASKS_FOR_CUDA, USES_CUDA], ids=["asks", "uses"])
def test_no_job_is_forked_from_a_process_that_has_started_cuda(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fake of the driver beneath PyTorch notes which process has started it."""
    (tmp_path / "cuda_of_mine.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("PYTORCH_NVML_BASED_CUDA_CHECK", raising=False)
    with LocalPool(started_cuda_elsewhere, ["cuda_of_mine"]) as pool:
        pool.start(1, "cuda_of_mine")
        assert pool.wait(PATIENCE_S) == [Answer(1, ("cuda", False))]


def test_the_process_of_a_job_is_there_before_its_job(pool: LocalPool) -> None:
    waiting = spare(pool)
    assert ask(pool, "pid").value == waiting
    assert spare(pool) != waiting


def test_a_process_that_dies_before_it_has_a_job_costs_no_job(pool: LocalPool) -> None:
    waiting = spare(pool)
    os.kill(waiting, signal.SIGKILL)
    wait_until(lambda: not runs(waiting))
    assert ask(pool, "echo", "still there") == Answer(1, "still there")


def fails() -> None:
    raise ValueError("too cold")


def test_a_warm_up_that_fails_costs_no_job() -> None:
    with LocalPool(work, [], warm_up=fails) as pool:
        assert ask(pool, "echo", 1) == Answer(1, 1)


def test_a_job_that_is_stopped_before_it_has_begun_is_stopped(tmp_path: Path) -> None:
    warm, held = tmp_path / "warm", tmp_path / "held"
    warm.touch()

    def warm_up() -> None:
        wait_until(lambda: not held.exists())
        with warm.open("a") as file:
            file.write(f"{os.getpid()}\n")

    with LocalPool(work, [], warm_up=warm_up) as pool:
        wait_until(lambda: str(spare(pool)) in warm.read_text().split())
        held.touch()
        pool.start(1, ("echo", "warm"))
        pool.start(2, ("sleep", None))
        pool.stop(2, 600)
        assert pool.wait(PATIENCE_S) == [Answer(1, "warm")]
        held.unlink()
        (answer,) = pool.wait(PATIENCE_S)
        assert isinstance(answer.error, KeyboardInterrupt)


def test_killing_the_server_fails_its_jobs_and_a_new_one_takes_over() -> None:
    with LocalPool(work, []) as pool:
        pool.start(1, ("sleep", None))
        server = server_of(pool)
        wait_until(lambda: len(server.children()) == 2)  # the job, and the one that comes next
        children = [process.pid for process in server.children()]
        server.kill()
        (answer,) = pool.wait(PATIENCE_S)
        assert isinstance(answer.error, WorkerDied)
        wait_until(lambda: not any(runs(pid) for pid in children))
        assert ask(pool, "echo", "again").value == "again"


def test_nothing_outlives_a_controller_that_was_killed(tmp_path: Path) -> None:
    script = tmp_path / "controller.py"
    script.write_text(
        "import os, subprocess, sys, time\n"
        "from explr.launching.pool import LocalPool\n"
        "def work(x):\n"
        "    subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "    os.write(1, b'ready\\n')\n"
        "    time.sleep(600)\n"
        "if __name__ == '__main__':\n"
        "    pool = LocalPool(work, [])\n"
        "    pool.start(1, None); pool.start(2, None)\n"
        "    pool.wait(None)\n"
    )
    controller = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE)
    assert controller.stdout is not None
    assert [controller.stdout.readline() for _ in range(2)] == [b"ready\n"] * 2
    process = psutil.Process(controller.pid)
    # The server, two jobs, a child of each, and the process of the job that comes next.
    wait_until(lambda: len(process.children(recursive=True)) == 6)
    family = [child.pid for child in process.children(recursive=True)]
    controller.kill()
    controller.wait()
    controller.stdout.close()
    wait_until(lambda: not any(runs(pid) for pid in family))


def server_of(pool: LocalPool) -> psutil.Process:
    process = pool._server._process
    assert process is not None
    return psutil.Process(process.pid)


def spare(pool: LocalPool) -> int:
    """The process that waits for the next job of a pool in which no job runs."""
    server = server_of(pool)
    wait_until(lambda: len(server.children()) == 1)
    return server.children()[0].pid
