"""What the process of a rank runs: the training, with a context of its rank."""

from __future__ import annotations

import os
import pickle
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import setup_globals

from explr.config.omegaconf_private import resolvers_kept
from explr.core.checkpoint import CHECKPOINTS, Checkpoints
from explr.core.errors import ExplrError, described
from explr.core.framework import registered
from explr.core.protocols import TrainFunction, TrainingContext
from explr.core.reporter import LISTENERS, Reporter
from explr.core.signals import end_with, interrupt_once
from explr.core.tracker import Tracker
from explr.core.user_code import call_train_function, failing_trial, user_traceback
from explr.launching.pickles import dumps
from explr.runner.ranks.agreement import FirstReporter, Line, OtherReporter, RelayedReporter
from explr.runner.ranks.ends import End
from explr.runner.ranks.logs import note_place, place_file, redirect
from explr.runner.reporting import ReportingTracker, current_reporter
from explr.tracking.null import NullTracker
from explr.utils.memory import memory_budget
from explr.utils.nvml import GIB
from explr.utils.readings import MEGABYTE, gpu_peak_memory_gb

BACKENDS = {"cpu": "gloo", "cuda": "nccl"}
"""The backend of the process group, by the kind of device."""


class FollowingCheckpoints(Checkpoints):
    """The checkpoints of a training for a rank that does not save."""

    def save(self, state: Any, step: int) -> Any:
        """The file that rank 0 writes."""
        return self.path_of(step)


@dataclass
class Member:
    """What all ranks of a training need.

    Args:
        train_model: the training function.
        context: the leader's context; each rank gets a copy with what is its own.
        recorder: records what rank 0 logs.
        framework: registered name of the framework.
        is_trial: whether an `exit()` fails the trial.
        places: folder for files that say where ranks stood.
        level: level of the leader's root logger.
        leader: process ID of the leader.
        threads: CPU threads of each rank; None is the framework's own choice.
        hydra: Hydra's state, for processes that do not inherit it.
    """

    train_model: TrainFunction
    context: TrainingContext
    recorder: Tracker
    framework: str
    is_trial: bool
    places: str
    level: int
    leader: int
    threads: int | None
    hydra: Any = None

    def __reduce__(self) -> tuple[Callable[[bytes], Any], tuple[bytes]]:
        return pickle.loads, (dumps(_Packed(vars(self))),)

    def context_of(self, rank: int, world_size: int, line: Line) -> TrainingContext:
        """The context of a rank.

        Args:
            rank: the rank.
            world_size: number of ranks.
            line: its line to the leader.
        """
        context = self.context
        config = context.config
        assert config is not None
        timeout_s = config.framework.collective_timeout_s
        reporter: Reporter = RelayedReporter(FirstReporter(line, current_reporter), LISTENERS)
        recorder, kind = self.recorder, Checkpoints
        if rank:
            reporter = OtherReporter(line, timeout_s)
            recorder, kind = NullTracker(), FollowingCheckpoints
        folder = context.output_dir
        device = context.device
        return replace(
            context,
            tracker=ReportingTracker(recorder, reporter, config.objective.primary),
            recorder=recorder,
            reporter=reporter,
            rank=rank,
            local_rank=rank,
            world_size=world_size,
            seed=seed_of(context.seed, rank),
            device=f"cuda:{rank}" if device.startswith("cuda") else device,
            checkpoints=kind(
                folder / CHECKPOINTS,
                registered(self.framework).serializer,
                keep=config.framework.keep_checkpoints,
                max_gb=config.framework.max_checkpoints_gb,
                run=f"the run in {folder}",
            ),
        )


@dataclass
class _Packed:
    """The fields of a member, as they are sent to a process that does not inherit them."""

    fields: dict[str, Any]

    def __reduce__(self) -> tuple[type[Member], tuple[Any, ...]]:
        return Member, tuple(self.fields.values())


def seed_of(seed: int | None, rank: int) -> int | None:
    """The seed of a rank; that of rank 0 is the seed of the training.

    Args:
        seed: the seed of the training; None if it has none.
        rank: the rank.
    """
    return seed if seed is None or rank == 0 else random.Random(f"{seed}/{rank}").getrandbits(32)


def run_rank(
    member: Member, rank: int, connection: Connection, others: Sequence[Connection]
) -> None:
    """Be a rank; the leader is told how it ended.

    Args:
        member: what all ranks need.
        rank: the rank.
        connection: to the leader.
        others: ends of pipes that a fork has inherited and must not keep open.
    """
    for other in others:
        other.close()
    line = Line(connection)
    try:
        end_with(member.leader)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, interrupt_once)
        note_place(place_file(member.places, rank))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
        redirect(rank, member.context.output_dir, line, member.level)
        if member.hydra is not None:
            setup_globals()
            with resolvers_kept():
                Singleton.set_state(member.hydra)
        end = _trained(member, rank, line)
    except BaseException as error:  # noqa: BLE001 - the leader raises it again
        error.__traceback__ = user_traceback(error) or error.__traceback__
        end = End(rank, error=error)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)  # the leader stops it while it waits for the others
    with suppress(BrokenPipeError):
        line.tell("ended", _as_bytes(end))


def _as_bytes(end: End) -> bytes:
    try:
        content = dumps(end)
        pickle.loads(content)  # some objects pickle but do not unpickle
    except Exception as error:  # noqa: BLE001 - it is reported
        text = f"what rank {end.rank} returned cannot be sent: {described(error)}"
        return dumps(End(end.rank, error=ExplrError(text)))
    return content


def _trained(member: Member, rank: int, line: Line) -> End:
    line.ask("ready")  # so that nobody waits in the opening of the process group
    world_size = int(os.environ["WORLD_SIZE"])
    context = member.context_of(rank, world_size, line)
    config = context.config
    assert config is not None
    registered(member.framework).configure(
        seed=context.seed,
        deterministic=config.framework.deterministic,
        threads=member.threads,
        device=context.device,
        memory_limit_gb=memory_budget(config.gpu.memory_limit_gb, context.device).gb,
    )
    assert context.checkpoints is not None
    with closing(context.checkpoints):
        with (
            process_group(context.device, config.framework.collective_timeout_s),
            failing_trial() if member.is_trial else nullcontext(),
        ):
            value = call_train_function(member.train_model, context)
        assert context.recorder is not None
        peak_gb = gpu_peak_memory_gb()
        if peak_gb is not None:
            peak = round(peak_gb * GIB / MEGABYTE, 1)
            context.recorder.log_metrics({"system/gpu_peak_memory_megabytes": peak})
    return End(rank, None if rank else value, metric_names=frozenset(context.recorder.metric_names))


@contextmanager
def process_group(device: str, timeout_s: float) -> Iterator[None]:
    """Have a process group within the block, if all goes well until its end.

    Args:
        device: the device of this rank.
        timeout_s: how long an operation of all ranks may take.
    """
    import torch
    from torch import distributed

    kind = device.partition(":")[0]
    more: dict[str, Any] = {"device_id": torch.device(device)} if kind == "cuda" else {}
    distributed.init_process_group(BACKENDS[kind], timeout=timedelta(seconds=timeout_s), **more)
    yield
    # Not after an error: the other ranks may be within an operation that never ends.
    if distributed.is_initialized():
        distributed.destroy_process_group()
