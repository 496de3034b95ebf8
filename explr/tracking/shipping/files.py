"""Uploads the artifacts and models of one run; each has its own fate and holds up no other.

A file that fails is tried again after all others. What the sink refuses, and what was deleted, is
set aside: the run does not wait for it.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from explr.core.errors import one_line
from explr.tracking.journal.items import Item, Items, read_items, write_items
from explr.tracking.journal.position import read_position
from explr.tracking.shipping.delay import Clock, Delay
from explr.tracking.shipping.sink import LoggedModel, Refused, Sink
from explr.tracking.tree import files_below, some

log = logging.getLogger(__name__)

AT_ONCE = 100
"""Files that are tried before the position is stored, and other journals have their turn."""
AWAY_AFTER = 5
AWAY_AFTER_S = 30.0
"""The sink takes no files for now after so many failures in a row, or two that took so long."""

GONE = "deleted before its upload"

Stamp = tuple[int, int, int]
"""What changes when a file is replaced: its inode, size, and time of change."""


class FileUploads:
    """Uploads of one run.

    A file that was logged several times is uploaded once, as it is then: a name is owed or not.

    Args:
        sink: where to upload to.
        journal: journal of the run; relative paths begin at its folder.
        clock: measures pauses.
        retries: try again what was set aside.
    """

    def __init__(self, sink: Sink, journal: Path, clock: Clock, retries: bool) -> None:
        self._sink = sink
        self._journal = journal
        self._clock = clock
        self._delay = Delay(clock)
        items = read_items(journal)
        self.is_damaged = items is None
        self._items = items or Items()
        self._is_changed = False
        if retries and self._items.refused:
            self._items.owed |= self._items.refused
            self._items.refused.clear()
        self._tried: set[str] = set()
        self._sent: dict[str, Stamp] = {}
        self._sample: tuple[int, Path, str] | None = None
        self._failures, self._lost_s = 0, 0.0
        self._reasons: dict[str, str] = {}

    @property
    def waiting(self) -> int:
        """How many are still to be uploaded."""
        return len(self._items.owed)

    @property
    def missing(self) -> str:
        """A line about what the sink will not have, "" if it will have everything."""
        return self._items.missing()

    @property
    def all_missing(self) -> str:
        """The same with every name."""
        return self._items.missing(len(self.set_aside))

    @property
    def set_aside(self) -> set[str]:
        """Names of what the sink will not have."""
        return self._items.set_aside

    @property
    def error(self) -> str:
        """Why something waits, "" if nothing has failed."""
        return next((self._reasons[n] for n in self._items.owed if n in self._reasons), "")

    @property
    def is_ready(self) -> bool:
        """Whether something is owed that was not tried after all others were."""
        return self._delay.over and any(name not in self._tried for name in self._items.owed)

    def add(self, item: Item) -> None:
        """Add a file, the files of a folder, or a model, to what is owed.

        Args:
            item: what to upload; one of the same name takes the place of an earlier one.
        """
        path = self._path(item.source)
        if item.is_whole or not path.is_dir():
            self._owe(item)
            return
        tree = files_below(path)
        if tree.skipped:
            log.warning("%s: %s cannot be read, and is left out", path, some(tree.skipped))
        top = f"{item.folder}/{path.name}" if item.folder else path.name
        for name in tree.files:
            folder = name.rpartition("/")[0]
            inner = f"{top}/{folder}" if folder else top
            self._owe(Item(f"{item.source}/{name}", inner))

    def work(self, run_id: str) -> bool:
        """Try what is owed, unless there is a pause after failures.

        Args:
            run_id: the sink's id of the run.

        Returns:
            Whether any of it need not be tried again.
        """
        owed = self._items.owed
        if not owed or not self._delay.over:
            return False
        if not self.is_ready:
            self._tried.clear()
            self._failures, self._lost_s = 0, 0.0
        moved = False
        for name in [name for name in owed if name not in self._tried][:AT_ONCE]:
            self._tried.add(name)
            item, begun = owed[name], self._clock.monotonic()
            try:
                if not self._settle(run_id, item):
                    continue
            except Exception as error:  # noqa: BLE001 - file systems raise their own
                self._fail(item, error)
                self._lost_s += self._clock.monotonic() - begun
                if self._is_sink_away():
                    self._tried.update(owed)
                    break
            else:
                del owed[name]
                self._reasons.pop(name, None)
                moved = self._is_changed = True
                self._failures, self._lost_s = 0, 0.0
                self._delay.clear()
        if self._failures and not self.is_ready:
            self._delay.lengthen()
        return moved

    def begin_again(self) -> None:
        """Upload whatever is added from now on, also what was uploaded before."""
        self._sent.clear()

    def save(self) -> None:
        """Store what the sink does not have, if that has changed.

        Raises:
            OSError: it cannot be written beside the journal.
        """
        if self._is_changed:
            write_items(self._journal, self._items)
            self._is_changed = False

    def _path(self, source: str) -> Path:
        return self._journal.parent / source

    def _owe(self, item: Item) -> None:
        self._items.refused.pop(item.name, None)
        self._items.owed[item.name] = item
        self._tried.discard(item.name)
        self._is_changed = True

    def _settle(self, run_id: str, item: Item) -> bool:
        """Upload an item or set it aside; False if it waits for its run."""
        path = self._path(item.source)
        try:
            if path.exists():
                return self._send(run_id, path, item)
            reason = GONE
        except Refused as error:
            if not error.certain and not self._takes_others(run_id):
                raise
            reason = one_line(error)
        except Exception:
            if path.exists():
                raise
            reason = GONE
        log.warning("%s is set aside: %s", path, reason)
        self._items.refuse(item, reason)
        return True

    def _send(self, run_id: str, path: Path, item: Item) -> bool:
        homes = {self._journal.parent.resolve()}
        if item.model:
            homes.add(self._path(item.run).parent.resolve())
        if not any(path.resolve().is_relative_to(home) for home in homes):
            raise Refused("it lies outside of the run's folder", certain=True)
        if item.model:
            model_run = read_position(self._path(item.run)).run_id
            if not model_run:  # no failure: the next look at this journal tries again
                reason = f"{path} is not registered: MLflow does not have its run yet"
                self._reasons[item.name] = reason
                return False
            self._sink.register(model_run, path, item.model, item.about)
            return True
        if item.logged is not None:
            self._sink.log_model(run_id, path, LoggedModel(**item.logged))
            return True
        if not (path.is_file() and os.access(path, os.R_OK)):
            raise Refused("it cannot be read")
        stamp = _stamp(path)
        if self._sent.get(item.name) != stamp:
            self._sink.upload(run_id, path, item.folder)
            self._sent[item.name] = stamp
            if self._sample is None or stamp[1] < self._sample[0]:
                self._sample = stamp[1], path, item.folder
        return True

    def _takes_others(self, run_id: str) -> bool:
        """Whether the sink still takes the smallest file that it took before."""
        if self._sample is None:
            return False
        try:
            self._sink.upload(run_id, *self._sample[1:])
        except Exception:  # noqa: BLE001 - whatever it is, it proves nothing about one file
            return False
        return True

    def _fail(self, item: Item, error: Exception) -> None:
        reason = f"{self._path(item.source)} is not uploaded: {one_line(error)}"
        if self._reasons.get(item.name) != reason:
            self._reasons[item.name] = reason
            log.warning("%s", reason)
        self._items.owed[item.name] = self._items.owed.pop(item.name)  # after all others
        self._failures += 1

    def _is_sink_away(self) -> bool:
        """Whether it is no use to try further files now."""
        if self._failures >= AWAY_AFTER or (self._failures > 1 and self._lost_s > AWAY_AFTER_S):
            return True
        try:
            self._sink.check()
        except Exception:  # noqa: BLE001 - it is told with the next row
            return True
        return False


def _stamp(file: Path) -> Stamp:
    info = file.stat()
    return info.st_ino, info.st_size, info.st_ctime_ns
