"""A Ray actor's trials: the real channel and account, and processes that a test plays."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from multiprocessing import Pipe
from multiprocessing.connection import wait
from pathlib import Path
from queue import SimpleQueue
from typing import Any, cast

import pytest
from waiting import wait_until

from explr.core.errors import ExplrError
from explr.core.signals import Terminated, forget_stop
from explr.launching.hydra_job import HydraJob
from explr.launching.pool import Answer, LocalPool, WorkerDied
from explr.sweep.ray.messages import Ended, Reported
from explr.sweep.ray.slot import Slot, Work
from explr.tuning.channel import CHANNEL_VARIABLE, ChannelReporter
from explr.tuning.feasibility.failure import Failure
from explr.tuning.trial import Outcome
from explr.tuning.trial_account import Limits

Play = Callable[[ChannelReporter, int], Outcome | BaseException | None]
"""What a process does, given its reporter and its number; None lets it run until it is stopped."""

STOPPED = Outcome("RUNNING", reason="ended by a signal")


class FakePool:
    """Runs each job on a thread, in place of a process."""

    def __init__(self, play: Play) -> None:
        self._play = play
        self._answers: SimpleQueue[Answer] = SimpleQueue()
        self._woken, self._wake = Pipe(duplex=False)
        self.running: set[int] = set()
        self.started: list[tuple[int, Path]] = []
        self.stopped: list[int] = []

    def start(self, key: int, argument: Any, *, environment: Any, output: Path) -> None:
        number = len(self.started)
        self.started.append((key, output))
        self.running.add(key)
        reporter = ChannelReporter(environment[CHANNEL_VARIABLE])

        def run() -> None:
            try:
                what = self._play(reporter, number)
            except Terminated:
                forget_stop()  # this process was not told
                return
            if isinstance(what, BaseException):
                self._answer(Answer(key, error=what))
            elif what is not None:
                self._answer(Answer(key, what))

        # A daemon: one that is stopped while it waits for an answer is not there any more.
        threading.Thread(target=run, daemon=True).start()

    def wait(self, timeout_s: float | None, wake: Any = None) -> list[Answer]:
        wait([self._woken, *([wake] if wake else [])], timeout_s)
        if not self._woken.poll():
            return []
        self._woken.recv_bytes()
        answer = self._answers.get()
        self.running.discard(answer.key)
        return [answer]

    def stop(self, key: int, grace_s: float) -> None:
        if key not in self.stopped:
            self.stopped.append(key)
            self._answer(Answer(key, STOPPED))

    def close(self) -> None:
        self._woken.close()

    def _answer(self, answer: Answer) -> None:
        self._answers.put(answer)
        self._wake.send_bytes(b".")


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., tuple[Slot, FakePool]]]:
    slots = []

    def begin(
        play: Play, number: int = 4, reports: Any = None, **limits: Any
    ) -> tuple[Slot, FakePool]:
        work = Work(
            task=cast(Any, None),
            job_of=lambda job: HydraJob(job.key, []),
            folder=tmp_path,
            preload=[],
            objectives=1,
            limits=Limits(1, **limits),
            environment={},
            token="t",
            prunes=True,
            reports=reports or {},
        )
        pool = FakePool(play)
        slot = Slot(work, cast(LocalPool, pool))
        slots.append(slot)
        slot.begin(number, {"lr": 0.5})
        return slot, pool

    yield begin
    for slot in slots:
        slot.close()


def reports(reporter: ChannelReporter, *values: float) -> bool:
    """Report values, a step each; whether the answer to the last was to end."""
    for step, value in enumerate(values):
        reporter.report(step, value)
    return reporter.should_prune()


Begin = Callable[..., tuple[Slot, FakePool]]

DIED = WorkerDied(-9)


def test_a_report_waits_for_what_ray_decides(begin: Begin, tmp_path: Path) -> None:
    asked: list[bool] = []

    def play(reporter: ChannelReporter, number: int) -> Outcome:
        asked.append(reports(reporter, 0.5))
        reporter.report(1, 0.25)
        return Outcome("COMPLETE", (0.25,))

    slot, pool = begin(play)
    assert slot.next() == Reported(0, 0.5)
    assert asked == []
    assert slot.folder == tmp_path / "4"
    assert slot.next() == Reported(1, 0.25)
    assert asked == [False]
    assert slot.next() == Ended(2, Outcome("COMPLETE", (0.25,)))
    assert slot.folder is None
    assert pool.started == [(4, tmp_path / "4" / "output.log")]


def test_a_trial_that_ray_ends_is_pruned(begin: Begin) -> None:
    asked: list[bool] = []

    def play(reporter: ChannelReporter, number: int) -> Outcome:
        asked.append(reports(reporter, 0.5))
        return Outcome("PRUNED")

    slot, pool = begin(play)
    slot.next()
    assert slot.next(prune=True) == Ended(1, Outcome("PRUNED"))
    assert (asked, pool.stopped) == ([True], [])
    assert slot.folder is None
    slot.begin(5, {"lr": 0.5})  # the actor goes on with another trial
    assert slot.next() == Reported(0, 0.5)


def test_an_actor_that_ends_prunes_no_trial(begin: Begin) -> None:
    told: list[str] = []

    def play(reporter: ChannelReporter, number: int) -> None:
        try:
            told.append(f"prune: {reports(reporter, 0.5)}")
        except Terminated:
            forget_stop()  # this process was not told
            told.append("stop")

    slot, pool = begin(play)
    slot.next()
    slot.end()
    wait_until(lambda: told != [])
    assert (told, pool.stopped) == (["stop"], [4])


def test_a_trial_that_continues_elsewhere_is_stopped(begin: Begin) -> None:
    slot, pool = begin(lambda reporter, number: None)
    slot.end()
    assert pool.stopped == [4]
    assert pool.running == set()


def test_a_trial_whose_process_died_is_tried_again(begin: Begin) -> None:
    def play(reporter: ChannelReporter, number: int) -> Outcome | BaseException:
        reports(reporter, 0.5)
        return Outcome("COMPLETE", (0.5,)) if number == 2 else DIED

    slot, pool = begin(play, retries=2)
    died = "killed by signal 9"
    assert [slot.next() for _ in range(4)] == [
        Reported(0, 0.5), Reported(0, 0.5, (died,)), Reported(0, 0.5, (died, died)),
        Ended(1, Outcome("COMPLETE", (0.5,)), (died, died)),
    ]  # fmt: skip
    assert len(pool.started) == 3


def test_a_trial_that_always_dies_is_given_up(begin: Begin) -> None:
    slot, _ = begin(lambda reporter, number: DIED, retries=1)
    end = slot.next()
    assert isinstance(end, Ended)
    assert (end.outcome.state, end.outcome.died) == ("FAIL", True)
    assert end.deaths == ("killed by signal 9",)


def test_what_cannot_be_sent_back_is_no_death(begin: Begin) -> None:
    slot, _ = begin(lambda reporter, number: TypeError("cannot pickle it"), retries=2)
    assert slot.next() == Ended(0, Outcome("FAIL", (), "cannot pickle it", Failure.ERROR))


def test_replicates_run_one_after_the_other_and_count_as_their_mean(
    begin: Begin, tmp_path: Path
) -> None:
    def play(reporter: ChannelReporter, number: int) -> Outcome:
        assert reports(reporter, 1.0 + number) is False
        return Outcome("COMPLETE", (float(number),))

    slot, pool = begin(play, replicates=2)
    assert slot.next() == Reported(0, 1.5)  # when the second has reported it too
    assert slot.next() == Ended(1, Outcome("COMPLETE", (0.5,)))
    folder = tmp_path / "4"
    assert pool.started == [(8, folder / "0" / "output.log"), (9, folder / "1" / "output.log")]


@pytest.mark.parametrize(("own", "value"), [((0.5, 0.75), 0.75), ((), 0.25)])
def test_a_trial_that_returns_none_has_the_value_that_it_reported(
    begin: Begin, own: tuple[float, ...], value: float
) -> None:
    def play(reporter: ChannelReporter, number: int) -> Outcome:
        reports(reporter, *own)
        return Outcome("COMPLETE")

    slot, _ = begin(play, reports={4: {7: 0.25, 6: 9.0}})  # of an earlier controller
    for step, each in enumerate(own):
        assert slot.next() == Reported(step, each)
    assert slot.next() == Ended(len(own), Outcome("COMPLETE", (value,)))


def test_the_first_replicate_that_fails_ends_the_trial(begin: Begin) -> None:
    slot, pool = begin(lambda reporter, number: Outcome("FAIL", reason="oops"), replicates=3)
    assert slot.next() == Ended(0, Outcome("FAIL", reason="oops"))
    assert len(pool.started) == 1


def test_a_training_that_takes_too_long_is_stopped(begin: Begin) -> None:
    slot, pool = begin(lambda reporter, number: None, trial_timeout_s=0.05, retries=2)
    assert slot.next() == Ended(0, Outcome("FAIL", (), "timeout after 0.05 s", Failure.TIMEOUT))
    assert pool.stopped == [4]


def test_reports_that_cannot_count_are_refused(begin: Begin) -> None:
    refused: list[str] = []

    def play(reporter: ChannelReporter, number: int) -> Outcome:
        with pytest.raises(ExplrError) as caught:
            reporter.report(3, float("nan"))
        refused.append(str(caught.value))
        with pytest.raises(Terminated):
            stranger(reporter).report(3, 0.5)
        forget_stop()  # this process was not told
        return Outcome("FAIL", reason="refused")

    slot, _ = begin(play)
    slot.next()
    assert refused == ["the objective is NaN at step 3"]


def stranger(reporter: ChannelReporter) -> ChannelReporter:
    """A training of a trial that was ended before."""
    order = {"address": reporter._address, "key": reporter._key.hex(), "job": 1}
    return ChannelReporter(json.dumps(order))


def test_reports_of_several_threads_wait_one_after_the_other(begin: Begin) -> None:
    def play(reporter: ChannelReporter, number: int) -> Outcome:
        threads = [
            threading.Thread(target=reporter.report, args=(step, step / 2)) for step in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return Outcome("COMPLETE", (0.5,))

    slot, _ = begin(play)
    heard = [slot.next() for _ in range(9)]
    told = [(one.step, one.value) for one in heard if isinstance(one, Reported)]
    assert sorted(told) == [(step, step / 2) for step in range(8)]
    assert isinstance(heard[-1], Ended)
