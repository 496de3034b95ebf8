"""Observes the runs of one process from its companion: machine metrics, and the runs' origin.

The observations go to a second file beside a run's journal, in the same format. So the training
waits for none of it.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from explr.core.errors import ExplrError
from explr.tracking.journal.index import recorded_steps
from explr.tracking.journal.journal import (
    Journal,
    attempts_of,
    first_event,
    has_ended,
    is_being_written,
    now_ms,
    uid_of,
)
from explr.tracking.journal.lines import read_events
from explr.tracking.journal.pending import Entry, entries, is_of_this_host
from explr.tracking.provenance import (
    DIFF_FILE,
    LOCK_FILE,
    changes_since_commit,
    installed_packages,
    origin_tags,
)
from explr.utils.processes import ProcessIdentity, is_alive
from explr.utils.readings import Machine

log = logging.getLogger(__name__)

POLL_S = 0.2
AWAITED_MS = 30_000
LONGEST_AWAITED_MS = 300_000
"""How long after its start a run is not finished in MLflow because its origin is missing: if
nobody has begun to write the origin down, and if somebody has."""


def observed_file(journal: Path) -> Path:
    """Path of the observations of a run."""
    return journal.with_name(f"observed-{uid_of(journal)}.jsonl")


def is_awaited(journal: Path, start: dict[str, Any]) -> bool:
    """Whether an observer is about to write down the origin of a run.

    Args:
        journal: journal of the run.
        start: its first event.
    """
    age_ms = now_ms() - start["t"]
    if start.get("observe") is None or age_ms > LONGEST_AWAITED_MS:
        return False
    notes = observed_file(journal)
    if age_ms > AWAITED_MS and not is_being_written(notes, unknown=False):
        return False
    try:
        return all(event["k"] != "tags" for event, _ in read_events(notes))
    except FileNotFoundError:
        return True


def steps_so_far(journal: Path) -> int:
    """How often the machine was measured for a run, also for its earlier attempts.

    Args:
        journal: journal of the latest attempt at the run.
    """
    notes = [file for file in map(observed_file, attempts_of(journal)) if file.exists()]
    return recorded_steps(notes).last


@dataclass
class _Observed:
    """A run whose machine is measured."""

    journal: Path
    notes: Journal
    interval_s: float
    due: float
    step: int = 0


@dataclass
class Observer:
    """Observes the runs of one process.

    Args:
        followed: the process.
        uri: tracking URI that its runs go to.
    """

    followed: ProcessIdentity
    uri: str
    _machine: Machine | None = field(default=None, init=False)
    _known: dict[str, _Observed | None] = field(default_factory=dict, init=False)

    def start(self) -> None:
        """Start a thread that observes until the process is gone."""
        threading.Thread(target=self._watch, name="observer", daemon=True).start()

    def _watch(self) -> None:
        # In this thread: psutil measures the load since the same thread's last call.
        self._machine = Machine(self.followed.pid)
        while is_alive(self.followed):
            self.look()
            time.sleep(POLL_S)
        self.look()

    def look(self) -> None:
        """Take up new runs, and measure the machine for those that are due."""
        for entry in entries(self.uri):
            mine = entry.pid == self.followed.pid and is_of_this_host(entry)
            if mine and entry.uid not in self._known:
                with suppress(OSError, ExplrError):  # the run's folder is gone, or the disk is full
                    self._take_up(entry)
        readings: dict[str, float] = {}
        now = time.monotonic()
        for uid, run in self._known.items():
            if run is None or now < run.due:
                continue
            run.due = now + run.interval_s
            if has_ended(run.journal):
                self._known[uid] = None
                run.notes.close()
                continue
            assert self._machine is not None
            readings = readings or self._machine.look()
            with suppress(ExplrError):
                run.step += 1
                run.notes.append("metrics", s=run.step, m=readings)

    def _take_up(self, entry: Entry) -> None:
        journal = Path(entry.journal)
        start = first_event(journal)
        if start is None:
            return  # its first event is not written yet
        self._known[entry.uid] = None
        interval_s = start.get("observe")
        if interval_s is None:
            return
        before = observed_file(journal).exists()  # by a companion that was killed
        steps = steps_so_far(journal)
        notes = Journal(observed_file(journal))
        if not before or is_awaited(journal, start):
            try:
                _note_origin(journal.parent, Path(start["g"].get("explr.cwd") or "."), notes)
            except BaseException:
                notes.close()  # so that no reader waits for it any more
                raise
        if interval_s > 0:
            due = time.monotonic() + interval_s
            self._known[entry.uid] = _Observed(journal, notes, interval_s, due, steps)


def _note_origin(folder: Path, cwd: Path, notes: Journal) -> None:
    """Write down the origin of a run; the tags come last and mark it as complete."""
    files = folder / "origin"
    files.mkdir(exist_ok=True)
    for name, text in (
        (LOCK_FILE, installed_packages()),
        (DIFF_FILE, changes_since_commit(cwd)),
    ):
        if text:
            (files / name).write_text(text, encoding="utf-8", errors="backslashreplace")
            notes.append("artifact", f=f"origin/{name}", d="origin")
    notes.append("tags", g=origin_tags(cwd))
