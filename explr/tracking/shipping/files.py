"""Uploads the artifacts and models of one run, and retries those that failed."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from explr.core.errors import one_line
from explr.tracking.journal.position import Position, read_position
from explr.tracking.shipping.delay import Delay
from explr.tracking.shipping.sink import Sink

log = logging.getLogger(__name__)


class FileUploads:
    """Uploads of one run, in their order; what fails is listed in `Position.owed` and retried.

    An artifact store can be out of reach or full while metrics are accepted.

    Args:
        sink: where to upload to.
        position: position of the run's journal.
        delay: pause between two attempts.
    """

    def __init__(self, sink: Sink, position: Position, delay: Delay) -> None:
        self._sink = sink
        self._position = position
        self._delay = delay
        self.error = position.error if position.owed else ""

    def upload(self, path: Path, folder: str) -> None:
        """Upload a file or folder, or list it to be retried.

        Args:
            path: what to upload.
            folder: folder among the run's artifacts, "" for the topmost one.
        """
        self._do([str(path), folder])

    def register(self, model: str, name: str, run: str, about: str) -> None:
        """Register a model, or list it to be retried.

        Args:
            model: a file or folder.
            name: name of the registered model.
            run: journal of the run that the model came from.
            about: a line for its description.
        """
        self._do([model, name, run, about])

    def retry(self) -> bool:
        """Retry what failed, if the pause is over.

        Returns:
            Whether anything was uploaded.
        """
        moved = False
        if self._delay.over:
            while self._position.owed and self._attempt(self._position.owed[0]):
                del self._position.owed[0]
                moved = True
        return moved

    def _do(self, item: list[str]) -> None:
        if item in self._position.owed:
            return
        if self._position.owed or not self._attempt(item):
            self._position.owed.append(item)

    def _attempt(self, item: list[str]) -> bool:
        path, *rest = item
        run_id = self._position.run_id
        if len(rest) > 1:
            run_id = read_position(Path(rest[1])).run_id
            if not run_id:  # no failure: the next look at this journal tries again
                self.error = f"{path} is not registered: MLflow does not have its run yet"
                return False
        try:
            self._send(run_id, Path(path), rest)
        except Exception as error:  # noqa: BLE001 - file systems raise their own; kept as `error`
            self.error = f"{path} is not uploaded: {one_line(error)}"
            log.warning("run %s: %s", self._position.run_id, self.error)
            self._delay.lengthen()
            return False
        self.error = ""
        self._delay.clear()
        return True

    def _send(self, run_id: str, path: Path, rest: list[str]) -> None:
        if len(rest) > 1:
            name, _, about = rest
            self._sink.register(run_id, path, name, about)
        elif os.access(path, os.R_OK):
            self._sink.upload(run_id, path, rest[0])
        else:
            log.warning("%s is gone: it is missing among the artifacts of run %s", path, run_id)
