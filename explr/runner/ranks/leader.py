"""Leads the ranks of one training: starts them by torch's elastic launcher, ends them as one.

The leader does not train. It holds what one training has once: its folder, record and reporter.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton

from explr.core.errors import is_pruning
from explr.core.protocols import TrainFunction, TrainingContext
from explr.core.signals import LIKE_CTRL_C, uninterrupted
from explr.launching.pool import travel_by_value
from explr.results.live.terminal import not_drawing
from explr.runner.ranks.agreement import Agreement
from explr.runner.ranks.ends import End, RankHung, is_collective, verdict
from explr.runner.ranks.logs import no_redirects, output_of, place_file, place_in
from explr.runner.ranks.member import Member, run_rank
from explr.tracking.shipping.start import not_listening
from explr.utils.host import cpu_cores
from explr.utils.scratch import scratch_folder

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing import PContext

log = logging.getLogger("explr")

LOOK_S = 0.02
"""Seconds between two looks at whether a process has died."""

CAUSE_S = 2.0
"""Seconds that the rank whose end has made another one fail may take to tell its own."""

GRACE_S = 5.0
"""Seconds that a rank may take to clean up after one of them failed."""

STOP_S = 30.0
"""Seconds that ranks may take to clean up after the training was told to stop."""

LOCAL = "127.0.0.1"
"""Where the ranks meet: nobody else can reach it."""


class Ranks:
    """A training function that trains in several processes.

    Args:
        train_model: what each process trains by.
        framework: registered name of the framework.
        processes: how many.
        is_trial: whether it is a trial of a sweep.
    """

    def __init__(
        self, train_model: TrainFunction, framework: str, processes: int, is_trial: bool
    ) -> None:
        self._train_model = train_model
        self._framework = framework
        self._processes = processes
        self._is_trial = is_trial
        self._ends: _Ends | None = None
        self.metric_names: frozenset[str] = frozenset()
        """Names of the metrics that the ranks have recorded."""

    def __call__(self, context: TrainingContext, /) -> None:
        """Train; `value` then tells what came of it.

        Raises:
            KeyboardInterrupt: this process was told to stop.
        """
        assert context.recorder is not None
        with scratch_folder() as places, ExitStack() as threads:
            if context.device == "cpu":  # explr's own threads are no reason not to fork
                threads.enter_context(not_drawing())
                threads.enter_context(not_listening())
            forks = _may_fork(context.device)
            if not forks:
                travel_by_value(self._train_model)
            member = Member(
                train_model=self._train_model,
                context=context if forks else _portable(context),
                recorder=context.recorder,
                framework=self._framework,
                is_trial=self._is_trial,
                places=places,
                level=logging.root.level,
                leader=os.getpid(),
                threads=_threads_of(context, self._processes),
                hydra=None if forks or not HydraConfig.initialized() else Singleton.get_state(),
            )
            with started(member, self._processes, "fork" if forks else "spawn") as lines:
                threads.close()
                self._ends = _Watch(context, lines, places).ends()
        names = (end.metric_names for end in self._ends.answers)
        self.metric_names = frozenset[str]().union(*names)

    def value(self) -> Any:
        """What the training returned.

        Raises:
            RankDied: a rank died.
            RankHung: the other ranks waited for one in vain.
            BaseException: a rank raised it.
        """
        assert self._ends is not None
        return self._ends.value()


def _threads_of(context: TrainingContext, processes: int) -> int | None:
    """CPU threads of each rank: the configured number, else an equal part of the cores."""
    assert context.config is not None
    if context.config.framework.threads is not None or "OMP_NUM_THREADS" in os.environ:
        return context.config.framework.threads
    return max(1, cpu_cores() // processes)


def _may_fork(device: str) -> bool:
    """Whether ranks may be forked from this process, which saves them their imports.

    CUDA does not survive a fork, nor do threads.
    """
    return device == "cpu" and threading.active_count() == 1


def _portable(context: TrainingContext) -> TrainingContext:
    """A context that can be sent to another process; the rank replaces what is left out."""
    from dataclasses import replace

    from explr.core.reporter import NullReporter
    from explr.tracking.null import NullTracker

    return replace(
        context, tracker=NullTracker(), recorder=None, reporter=NullReporter(), checkpoints=None,
        hyperparameters=context.hyperparameters.copy(),
    )  # fmt: skip


@contextmanager
def started(
    member: Member, processes: int, start_method: str
) -> Iterator[tuple[PContext, list[Connection]]]:
    """Start the ranks, and stop those that are left at the end of the block.

    Args:
        member: what they need.
        processes: how many.
        start_method: how `multiprocessing` starts them.

    Yields:
        The processes as torch's launcher has them, and a pipe to each.
    """
    from torch.distributed import TCPStore  # type: ignore[attr-defined]
    from torch.distributed.elastic.multiprocessing import start_processes

    # What the launcher tells of ranks that end is told better by how the training ends.
    logging.getLogger("torch.distributed.elastic.multiprocessing.api").setLevel(logging.CRITICAL)
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.CRITICAL)
    door = socket.create_server((LOCAL, 0))
    port = door.getsockname()[1]
    pipes = [Pipe() for _ in range(processes)]
    ours, theirs = [one for one, _ in pipes], [other for _, other in pipes]
    forks = start_method == "fork"
    environment = _variables(processes, port)
    with _signals_kept(), _without_main(), _threads(processes):
        context = start_processes(
            "explr",
            run_rank,
            args={
                rank: (
                    member,
                    rank,
                    theirs[rank],
                    [*ours, *(one for one in theirs if one is not theirs[rank])] if forks else [],
                )
                for rank in range(processes)
            },
            envs={rank: {**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)}
                  for rank in range(processes)},
            logs_specs=no_redirects(),
            start_method=start_method,
        )  # fmt: skip
    for one in theirs:
        one.close()
    # Made after the fork, since it has a thread.
    store = TCPStore(
        LOCAL, port, processes, is_master=True, wait_for_workers=False,
        master_listen_fd=door.detach(),
    )  # fmt: skip
    try:
        yield context, ours
    finally:
        context.close(signal.SIGKILL, timeout=int(STOP_S))
        for one in ours:
            one.close()
        del store


def _variables(processes: int, port: int) -> dict[str, str]:
    """The environment of all ranks, as torch's own launcher has it."""
    found = {
        "MASTER_ADDR": LOCAL,
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "GROUP_RANK": "0",
        "GROUP_WORLD_SIZE": "1",
        "ROLE_NAME": "explr",
        "ROLE_WORLD_SIZE": str(processes),
        "TORCHELASTIC_RUN_ID": "explr",
        "TORCHELASTIC_RESTART_COUNT": "0",
        "TORCHELASTIC_MAX_RESTARTS": "0",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1",
    }
    if "GLOO_SOCKET_IFNAME" not in os.environ:
        found["GLOO_SOCKET_IFNAME"] = "lo"  # else gloo needs a host name that resolves
    return found


@contextmanager
def _threads(processes: int) -> Iterator[None]:
    """Divide the cores among the ranks, where nothing else says how many threads each has."""
    if "OMP_NUM_THREADS" in os.environ:
        yield
        return
    os.environ["OMP_NUM_THREADS"] = str(max(1, cpu_cores() // processes))
    try:
        yield
    finally:
        del os.environ["OMP_NUM_THREADS"]


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Delay signals within the block, and undo that torch's launcher has taken over their handlers.

    The ranks begin with the signals delayed.
    """
    numbers = (signal.SIGINT, *LIKE_CTRL_C)
    taken = (*numbers, signal.SIGQUIT)
    in_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in taken} if in_main else {}
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)


@contextmanager
def _without_main() -> Iterator[None]:
    """Have spawned processes not import the script of this one, which would run once more."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


class _Ends:
    """How the ranks ended.

    Args:
        folder: folder of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.answers: list[End] = []
        self.died: dict[int, int] = {}
        self.hung: list[RankHung] = []
        self._folder = folder

    def value(self) -> Any:
        """What rank 0 returned; see `verdict`."""
        outputs = {end.rank: output_of(self._folder, end.rank) for end in self.answers if end.rank}
        return verdict(self.answers, self.died, self.hung, outputs)


class _Watch:
    """Answers the ranks until all have ended, or one has failed and the others are stopped.

    Args:
        context: the leader's context.
        lines: the processes, and a pipe to each.
        places: folder for files that say where ranks stood.
    """

    def __init__(
        self, context: TrainingContext, lines: tuple[PContext, list[Connection]], places: str
    ) -> None:
        assert context.config is not None
        self._timeout_s = context.config.framework.collective_timeout_s
        self._reporter = context.reporter
        self._processes, connections = lines
        self._ranks = {connection: rank for rank, connection in enumerate(connections)}
        self._lines = dict(enumerate(connections))
        self._living = dict(self._processes.pids())
        self._agreement = Agreement()
        self._places = places
        self._ends = _Ends(context.output_dir)
        self._stopping = False
        self._ready = 0

    def ends(self) -> _Ends:
        """Wait for the ranks to end.

        Raises:
            BaseException: this process was told to stop.
        """
        try:
            self._until_one_fails()
            if self._failed:
                self._stop(GRACE_S)
        except BaseException:  # the ranks may have been told before this process was
            self._stop(STOP_S)
            if self._failed or self._living:
                raise
        if not self._failed:
            # The pipes tell that all have ended well; their processes wait to be told so.
            self._processes.wait(STOP_S, LOOK_S)
        return self._ends

    @property
    def _failed(self) -> bool:
        answers = self._ends.answers
        return bool(self._ends.died) or any(end.error is not None for end in answers)

    def _until_one_fails(self) -> None:
        first_s: float | None = None
        while self._living and not self._failed:
            self._look()
            if first_s is None and self._ends.answers:
                first_s = time.monotonic()
            if first_s is not None and time.monotonic() - first_s > self._timeout_s:
                break
        error = next((end.error for end in self._ends.answers if end.error is not None), None)
        if is_collective(error):
            self._await_cause()
        elif not is_pruning(error) and not self._living:
            return
        elif is_pruning(error):  # the others leave at the same step
            self._await(GRACE_S)
            return
        if not self._ends.died and (not self._failed or self._all_collective):
            self._hung()

    @property
    def _all_collective(self) -> bool:
        return all(is_collective(end.error) for end in self._ends.answers if end.error is not None)

    def _await_cause(self) -> None:
        """Wait for an end that is the reason for that of another rank."""
        deadline = time.monotonic() + CAUSE_S
        while self._living and time.monotonic() < deadline:
            self._look()
            if self._ends.died or not self._all_collective:
                break

    def _await(self, most_s: float) -> None:
        deadline = time.monotonic() + most_s
        while self._living and time.monotonic() < deadline:
            self._look()

    def _hung(self) -> None:
        """Note which ranks were waited for."""
        ranks = list(self._living)
        self._stop(GRACE_S)
        for rank in ranks:
            place = place_in(place_file(self._places, rank))
            self._ends.hung.append(RankHung(rank, self._timeout_s, place))

    def _stop(self, grace_s: float) -> None:
        """Have the ranks end that still run; what they tell meanwhile counts."""
        self._stopping = True
        for pid in self._living.values():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        died = dict(self._ends.died)
        self._await(grace_s)
        self._ends.died = died  # whatever they died of now, it is because of us
        for pid in self._living.values():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _look(self) -> None:
        """Take the messages that are there, else see whether a process has died."""
        ready = wait([self._lines[rank] for rank in self._living], LOOK_S)
        for connection in ready:
            assert isinstance(connection, Connection)
            self._take(connection)
        if ready:
            return
        for rank, pid in list(self._living.items()):
            code = _exit_code(pid)
            if code is not None and not self._lines[rank].poll():
                self._died(rank, code)

    def _died(self, rank: int, code: int) -> None:
        del self._living[rank]
        self._ends.died[rank] = code

    def _take(self, connection: Connection) -> None:
        rank = self._ranks[connection]
        try:
            with uninterrupted():  # else the end of a rank could be lost
                kind, *values = connection.recv()
                if kind == "ended":
                    self._ended(rank, pickle.loads(values[0]))
                    return
        except (EOFError, ConnectionError):
            deadline = time.monotonic() + STOP_S
            while (code := _exit_code(self._living[rank])) is None and time.monotonic() < deadline:
                time.sleep(LOOK_S)
            self._died(rank, 1 if code is None else code)
            return
        if kind == "log":
            (record,) = values
            logging.getLogger(record.name).handle(record)
        elif kind == "report":
            self._tell(rank, self._reported(*values))
        elif kind == "ready":
            self._ready += 1
            if self._ready == len(self._lines):
                self._release([(each, True) for each in self._lines])
        elif kind == "missed":
            self._reporter.missed(*values)
        elif kind == "decided":
            self._release(self._agreement.decided(*values))
        else:
            assert kind == "asked"
            self._release(self._agreement.asked(rank, *values))

    def _ended(self, rank: int, end: End) -> None:
        self._ends.answers.append(end)
        del self._living[rank]
        if rank == 0:
            self._release(self._agreement.left(is_pruning(end.error)))

    def _reported(self, step: Any, value: Any) -> Any:
        """The answer to a report of rank 0: whether to prune, or what the rank is to raise."""
        try:
            self._reporter.report(step, value)
            return self._reporter.should_prune()
        except KeyboardInterrupt as error:  # the controller has told the trial to stop
            if not self._stopping:
                raise
            return error
        except Exception as error:  # noqa: BLE001 - the rank raises it
            return error

    def _release(self, answers: list[tuple[int, bool]]) -> None:
        for rank, prune in answers:
            self._tell(rank, prune)

    def _tell(self, rank: int, answer: Any) -> None:
        with suppress(BrokenPipeError, ConnectionError):  # its end is noticed otherwise
            self._lines[rank].send(answer)


def _exit_code(pid: int) -> int | None:
    """The exit code of a child that has ended, as `multiprocessing` has it; None if it runs."""
    try:
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return 1
    if ended is None:
        return None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
