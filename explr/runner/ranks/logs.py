"""Where the ranks of a training print and log.

Rank 0 prints where the training does, and its log records pass through the leader, whose handlers
write files and draw. The other ranks print and log into a file each.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
from logging.handlers import QueueHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explr.runner.ranks.agreement import Line

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing import LogsSpecs


def output_of(folder: Path, rank: int) -> Path:
    """File with the output of a rank other than 0.

    Args:
        folder: folder of the run.
        rank: the rank.
    """
    return folder / f"output-{rank}.log"


class _ToLeader(QueueHandler):
    """Sends log records to the leader."""

    def __init__(self, line: Line) -> None:
        super().__init__(line)  # type: ignore[arg-type]
        self._line = line

    def enqueue(self, record: logging.LogRecord) -> None:
        """Send one."""
        self._line.tell("log", record)


def redirect(rank: int, folder: Path, line: Line, level: int) -> None:
    """Have this process print and log where its rank does.

    Args:
        rank: the rank.
        folder: folder of the run.
        line: to the leader.
        level: level of the leader's root logger.
    """
    handler: logging.Handler = _ToLeader(line)
    if rank:
        descriptor = os.open(output_of(folder, rank), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.close(descriptor)
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(
            logging.Formatter("[%(asctime)s][%(name)s][%(levelname)s] %(message)s")
        )
    # What a fork inherits may draw on the leader's terminal, or belong to a notebook.
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = open(number, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
    if rank:
        handler.setStream(sys.stderr)  # type: ignore[attr-defined]
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(level)


def place_file(folder: str, rank: int) -> Path:
    """File with where a rank stood when it was stopped."""
    return Path(folder, f"rank-{rank}")


def note_place(file: Path) -> None:
    """Have SIGTERM write down where this process stands, before its own handler is called."""
    stream = file.open("w")
    faulthandler.register(signal.SIGTERM, file=stream, all_threads=False, chain=True)


def place_in(file: Path) -> str:
    """The innermost place that `note_place` has written down; empty if it has not."""
    try:
        lines = [line.strip() for line in file.read_text(errors="replace").splitlines()]
    except FileNotFoundError:
        return ""
    return next((line.removeprefix("File ") for line in lines if line.startswith("File ")), "")


def no_redirects() -> LogsSpecs:
    """What torch's launcher is to do with output: nothing, since each rank sees to its own."""
    from torch.distributed.elastic.multiprocessing import LogsDest, LogsSpecs

    class Nowhere(LogsSpecs):
        def reify(self, envs: dict[int, dict[str, str]]) -> Any:
            none = dict.fromkeys(envs, "")
            return LogsDest(stdouts=none, stderrs=none, error_files=dict.fromkeys(envs, os.devnull))

        @property
        def root_log_dir(self) -> str:
            return os.devnull

    return Nowhere()
