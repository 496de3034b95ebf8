"""Reports from a trial to its controller over the real socket."""

import json
import subprocess
import sys
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


def test_a_controller_that_is_gone_is_named(controller: Controller) -> None:
    server = ChannelServer(controller.report)
    trial = reporter(server)
    server.close()
    with pytest.raises(ExplrError, match="controller of this sweep is gone"):
        trial.report(0, 1.0)


def test_outside_a_sweep_there_is_no_reporter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CHANNEL_VARIABLE, raising=False)
    assert ChannelReporter.from_environment() is None
