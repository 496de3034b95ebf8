"""The finished replicates of a trial, which a resumed sweep does not train again."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from explr.core.errors import FileError
from explr.core.folders import REPLICATES, read_json, replace_file
from explr.tuning.trial_account import FinishedReplicate

log = logging.getLogger("explr.sweep")


class ReplicateFile:
    """Keeps the finished replicates of a trial in its folder.

    Args:
        folder: folder of the trial.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / REPLICATES

    def load(self, params: Mapping[str, Any]) -> dict[int, FinishedReplicate]:
        """See `KeptReplicates.load`."""
        try:
            content = read_json(self._file)
        except FileError as error:
            log.warning("%s; its replicates are trained again", error)
            return {}
        if content is None or content["params"] != _plain(params):
            return {}
        return {
            int(number): FinishedReplicate(
                tuple(one["values"]), {int(step): value for step, value in one["reports"]}
            )
            for number, one in content["finished"].items()
        }

    def save(self, params: Mapping[str, Any], finished: Mapping[int, FinishedReplicate]) -> None:
        """See `KeptReplicates.save`."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        ended = {
            str(number): {"values": one.values, "reports": list(one.reports.items())}
            for number, one in finished.items()
        }
        replace_file(self._file, {"params": _plain(params), "finished": ended})


def _plain(params: Mapping[str, Any]) -> Any:
    """Parameters as they come back from a file."""
    return json.loads(json.dumps(dict(params), default=str))
