"""The record of the data of a run or a sweep: in its folder, and in MLflow."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explr.core.folders import DATA, read_json, write_json
from explr.tracking.data.hashes import DataHash, hash_paths

if TYPE_CHECKING:
    from explr.core.tracker import Tracker

log = logging.getLogger("explr")

TAG = "explr.data"
"""Tag of a run: the hash and the path of its data, a line for each."""


def note_data(
    paths: Sequence[str],
    folder: Path,
    root: Path,
    *,
    sweep: Path | None = None,
    resumes: str = "",
) -> list[DataHash]:
    """Hash the data of a run or a sweep, and write the hashes to its folder.

    Args:
        paths: files and folders.
        folder: folder of the run or the sweep.
        root: what relative paths are relative to.
        sweep: folder of the sweep that has hashed the data of its trials; None if none has.
        resumes: what goes on, such as `this training`: a warning says which data has changed since
            it began. "" if nothing does.

    Raises:
        UsageError: something cannot be read.
        FileError: an earlier record is damaged.
        OSError: the record cannot be written.
    """
    before = recorded_data(folder) if resumes else []
    found: list[DataHash] = []
    if paths:
        found = (_taken(sweep, paths) if sweep is not None else None) or hash_paths(paths, root)
        write_json(folder / DATA, {"paths": list(paths), "data": [asdict(each) for each in found]})
    then, now = ({each.path: each.hash for each in some} for some in (before, found))
    if changed := [path for path in then if then[path] != now.get(path, then[path])]:
        log.warning("%s began with other data: changed since: %s", resumes, ", ".join(changed))
    return found


def _taken(sweep: Path, paths: Sequence[str]) -> list[DataHash] | None:
    """What a sweep has recorded of the same paths; None if it has not."""
    content = read_json(sweep / DATA)
    return _hashes(content) if content and content["paths"] == list(paths) else None


def recorded_data(folder: Path) -> list[DataHash]:
    """The data that is recorded in the folder of a run or a sweep; empty if none is.

    Args:
        folder: the folder.

    Raises:
        FileError: the record is damaged.
    """
    content = read_json(folder / DATA)
    return _hashes(content) if content else []


def _hashes(content: Mapping[str, Any]) -> list[DataHash]:
    return [DataHash(**each) for each in content["data"]]


def log_data(tracker: Tracker, data: Sequence[DataHash]) -> None:
    """Record data in a run: as inputs, which MLflow's UI shows, and as a tag.

    Args:
        tracker: that of the run.
        data: the data.
    """
    lines = [f"{each.hash}  {each.path}" for each in data]
    for each in data:
        profile = {"hash": each.kind} | ({} if each.size is None else {"size_bytes": each.size})
        described = {"name": each.path, "digest": each.hash, "source": each.source}
        tracker.log_input(described | {"profile": profile})
    if lines:
        tracker.set_tag(TAG, "\n".join(lines))
