"""Reports from a trial to its controller over the real socket."""

import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client

import pytest
from waiting import PATIENCE_S

from explr.core.errors import ExplrError, TrialPruned
from explr.tuning.channel import CHANNEL_VARIABLE, ChannelReporter, ChannelServer


class Controller:
    """Remembers reports, and prunes from a given step on."""

    def __init__(self) -> None:
        self.reports: list[tuple[int, int, float]] = []
        self.prune_from = 10**9

    def report(self, job: int, step: int, value: float) -> bool:
        if value < 0:
            raise ValueError("below zero")
        self.reports.append((job, step, value))
        return step >= self.prune_from


@pytest.fixture
def controller() -> Controller:
    return Controller()


@pytest.fixture(params=[None, "127.0.0.1"], ids=["file", "address"])
def server(request: pytest.FixtureRequest, controller: Controller) -> Iterator[ChannelServer]:
    server = ChannelServer(controller.report, request.param)
    yield server
    server.close()


def reporter(server: ChannelServer, job: int = 3) -> ChannelReporter:
    return ChannelReporter(server.variable(job)[CHANNEL_VARIABLE])


def test_reports_arrive_in_their_order(server: ChannelServer, controller: Controller) -> None:
    trial = reporter(server)
    for step in range(5):
        trial.report(step, step / 2)
    assert controller.reports == [(3, step, step / 2) for step in range(5)]
    assert not trial.should_prune()


def test_the_answer_says_whether_to_end(server: ChannelServer, controller: Controller) -> None:
    controller.prune_from = 2
    trial = reporter(server)
    trial.report(1, 1.0)
    assert not trial.should_prune()
    trial.report(2, 1.0)
    assert trial.should_prune()


def test_continuing_after_that_ends_the_trial(
    server: ChannelServer, controller: Controller
) -> None:
    controller.prune_from = 0
    trial = reporter(server)
    trial.report(0, 1.0)
    with pytest.raises(TrialPruned):
        trial.report(1, 1.0)
    assert len(controller.reports) == 1


def test_trials_do_not_hear_each_others_answers(
    server: ChannelServer, controller: Controller
) -> None:
    controller.prune_from = 5
    one, other = reporter(server, 1), reporter(server, 2)
    one.report(5, 1.0)
    other.report(0, 1.0)
    assert one.should_prune()
    assert not other.should_prune()


def test_what_the_controller_refuses_is_said_to_the_trial(server: ChannelServer) -> None:
    trial = reporter(server)
    with pytest.raises(ExplrError, match="below zero"):
        trial.report(0, -1.0)
    trial.report(1, 1.0)  # the channel goes on


def test_who_has_not_the_key_is_not_heard(server: ChannelServer, controller: Controller) -> None:
    order = json.loads(server.variable(1)[CHANNEL_VARIABLE])
    address = order["address"]
    with pytest.raises((AuthenticationError, EOFError, OSError)):
        Client(address if isinstance(address, str) else tuple(address), authkey=b"guess")
    reporter(server).report(0, 1.0)
    assert len(controller.reports) == 1


def test_a_message_that_is_no_json_ends_only_its_own_connection(
    server: ChannelServer, controller: Controller
) -> None:
    order = json.loads(server.variable(1)[CHANNEL_VARIABLE])
    address = order["address"]
    stray = Client(
        address if isinstance(address, str) else tuple(address), authkey=bytes.fromhex(order["key"])
    )
    stray.send_bytes(b"[1, 2")
    stray.close()
    reporter(server).report(0, 1.0)
    assert len(controller.reports) == 1


def test_another_process_reports_with_the_environment_alone(
    server: ChannelServer, controller: Controller
) -> None:
    code = (
        "from explr.tuning.channel import ChannelReporter\n"
        "reporter = ChannelReporter.from_environment()\n"
        "reporter.report(7, 0.5)\n"
    )
    subprocess.run(
        [sys.executable, "-c", code], env=server.variable(9), check=True, timeout=PATIENCE_S
    )
    assert controller.reports == [(9, 7, 0.5)]


def test_threads_report_at_the_same_time_and_each_has_its_own_answer(
    server: ChannelServer, controller: Controller
) -> None:
    trial = reporter(server)
    refused: list[str] = []

    def report(first: int) -> None:
        for step in range(first, first + 25):
            trial.report(step, step / 2)
        with pytest.raises(ExplrError) as caught:
            trial.report(first, -1.0)
        refused.append(str(caught.value))

    threads = [threading.Thread(target=report, args=(first,)) for first in range(0, 200, 25)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(controller.reports) == [(3, step, step / 2) for step in range(200)]
    assert len(refused) == 8
    assert not trial.should_prune()


def test_an_answer_to_one_thread_is_not_taken_back_by_that_to_another(
    server: ChannelServer, controller: Controller
) -> None:
    trial = reporter(server)
    controller.prune_from = 5
    trial.report(5, 1.0)
    controller.prune_from = 10**9
    heard: list[str] = []

    def report() -> None:
        with pytest.raises(TrialPruned) as caught:
            trial.report(6, 1.0)
        heard.append(str(caught.value))

    other = threading.Thread(target=report)
    other.start()
    other.join()
    assert heard == ["by the tuner"]
    assert trial.should_prune()


def test_a_forked_process_does_not_write_into_the_connection_of_its_parent(
    server: ChannelServer, controller: Controller
) -> None:
    trial = reporter(server)
    trial.report(0, 0.5)
    children = []
    for step in range(1, 5):
        if (child := os.fork()) == 0:
            code = 1
            try:
                for _ in range(20):
                    trial.report(step, 0.5)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
        trial.report(0, 0.5)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    steps = [step for _, step, _ in controller.reports]
    assert [steps.count(step) for step in range(5)] == [5, 20, 20, 20, 20]


def test_a_reporter_travels_to_another_process(
    server: ChannelServer, controller: Controller
) -> None:
    trial = reporter(server)
    trial.report(0, 0.5)
    pickle.loads(pickle.dumps(trial)).report(1, 0.5)
    assert controller.reports == [(3, 0, 0.5), (3, 1, 0.5)]


def test_a_controller_that_is_gone_is_named(controller: Controller) -> None:
    server = ChannelServer(controller.report)
    trial = reporter(server)
    server.close()
    with pytest.raises(ExplrError, match="controller of this sweep is gone"):
        trial.report(0, 1.0)


def test_outside_a_sweep_there_is_no_reporter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CHANNEL_VARIABLE, raising=False)
    assert ChannelReporter.from_environment() is None
