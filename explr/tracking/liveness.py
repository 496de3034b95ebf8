"""Which journals are still being written."""

from __future__ import annotations

import time
from pathlib import Path

from explr.tracking.journal import is_being_written
from explr.tracking.spool import Entry, entries, is_of_this_host
from explr.utils.processes import ProcessIdentity, is_alive

ABANDONED_S = 3600.0
"""Silence after which a journal of another machine, which nobody has open, counts as left."""


class Liveness:
    """Tells the dead from the living, each process being asked about as rarely as possible."""

    def __init__(self) -> None:
        self._dead: set[ProcessIdentity] = set()
        self._alive: set[ProcessIdentity] = set()

    def look_again(self) -> None:
        """Forget who was alive; the dead stay dead."""
        self._alive.clear()

    def is_left(self, entry: Entry) -> bool:
        """Whether nobody will write the journal of `entry` any more.

        A process of another machine (or of a container that is gone) cannot be looked up: there a
        journal is left when nobody has it open and nothing was written for `ABANDONED_S`.
        """
        if not is_of_this_host(entry):
            return _is_abandoned(Path(entry.journal))
        writer = ProcessIdentity(entry.pid, entry.started)
        if writer not in self._dead and writer not in self._alive:
            (self._alive if is_alive(writer) else self._dead).add(writer)
        return writer in self._dead

    def left(self, uri: str) -> list[Entry]:
        """Entries for `uri` whose writers are gone."""
        self.look_again()
        return [entry for entry in entries(uri) if self.is_left(entry)]


def _is_abandoned(journal: Path) -> bool:
    try:
        silence_s = time.time() - journal.stat().st_mtime
    except OSError:
        return False  # not to be seen from here
    return silence_s > ABANDONED_S and not is_being_written(journal)
