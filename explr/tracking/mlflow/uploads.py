"""Artifacts on their way to MLflow, which hold up nothing else."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from explr.tracking.journal.position import Position, read_position
from explr.tracking.mlflow.registry import register
from explr.tracking.mlflow.store import one_line
from explr.tracking.shipping.delay import Delay

if TYPE_CHECKING:
    from mlflow import MlflowClient


log = logging.getLogger(__name__)


class Uploads:
    """Uploads of one run; what fails is owed, and tried again later.

    An artifact store can be out of reach, lack its driver or be full while metrics are fine.

    Args:
        client: MLflow's client for the store.
        position: where it is kept what is owed.
    """

    def __init__(self, client: MlflowClient, position: Position) -> None:
        self._client = client
        self._position = position
        self._delay = Delay()
        self.error = position.error if position.owed else ""

    def upload(self, path: Path, folder: str) -> None:
        """Upload a file or folder now, or as soon as it can be done.

        Args:
            path: what to upload.
            folder: folder among the run's artifacts, "" for the topmost one.
        """
        self._do([str(path), folder])

    def register(self, model: str, name: str, run: str, about: str) -> None:
        """Register a model now, or as soon as it can be done; see `registry.register`."""
        self._do([model, name, run, about])

    def _do(self, item: list[str]) -> None:
        if item in self._position.owed:
            return
        if self._position.owed or not self._attempt(item):
            self._position.owed.append(item)

    def retry(self) -> bool:
        """Try again what is owed, if it is time to.

        Returns:
            Whether anything was uploaded.
        """
        moved = False
        if self._delay.over:
            while self._position.owed and self._attempt(self._position.owed[0]):
                del self._position.owed[0]
                moved = True
        return moved

    def _attempt(self, item: list[str]) -> bool:
        path, *rest = item
        if len(rest) > 1 and not read_position(Path(rest[1])).run_id:
            self.error = f"{path} is not registered: MLflow does not have its run yet"
            return False  # its turn comes as soon as that has been shipped
        try:
            self._send(Path(path), rest)
        except Exception as error:  # noqa: BLE001 - every store raises its own; kept as `error`
            self.error = f"{path} is not uploaded: {one_line(error)}"
            log.warning("run %s: %s", self._position.run_id, self.error)
            self._delay.lengthen()
            return False
        self.error = ""
        self._delay.clear()
        return True

    def _send(self, path: Path, rest: list[str]) -> None:
        run_id = self._position.run_id
        if len(rest) > 1:
            name, run, about = rest
            register(self._client, name, path, Path(run), about)
            return
        (folder,) = rest
        if not os.access(path, os.R_OK):
            log.warning("%s is gone: it is missing among the artifacts of run %s", path, run_id)
        elif path.is_dir():
            inner = f"{folder}/{path.name}" if folder else path.name
            self._client.log_artifacts(run_id, str(path), inner)
        else:
            self._client.log_artifact(run_id, str(path), folder or None)
