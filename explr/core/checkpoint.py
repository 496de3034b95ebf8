"""Checkpoints that survive a kill in the middle of saving.

A checkpoint is written under another name, flushed to the disk and renamed; only then a file with
its checksum is written. The checkpoint before it is kept. Loading takes the latest checkpoint whose
checksum is right.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any, Protocol

from explr.core.errors import CheckpointError
from explr.core.folders import WRITING, flush, replacing

KEPT = 2
"""Checkpoints kept in a folder: the latest one and a fallback."""


class Serializer(Protocol):
    """Writes and reads training state in the format of a framework."""

    suffix: str

    def save(self, state: Any, path: Path) -> None:
        """Write `state` to `path`."""
        ...

    def load(self, path: Path) -> Any:
        """Read a file that `save` wrote."""
        ...


class Checkpoints:
    """The checkpoints of one training.

    Args:
        folder: their folder; created with the first checkpoint.
        serializer: writes and reads them in the framework's format.
    """

    def __init__(self, folder: Path, serializer: Serializer) -> None:
        self._folder = folder
        self._serializer = serializer

    def save(self, state: Any, step: int) -> Path:
        """Write a checkpoint, and delete all others but the one before it.

        Checkpoints of later steps are deleted too: a training that saves an earlier step has
        started again, and its own state is the latest.

        Args:
            state: training state that the serializer can write.
            step: step of the state, 0 or more.

        Returns:
            The file.

        Raises:
            CheckpointError: the file cannot be written; earlier checkpoints stay.
            ValueError: `step` is negative.
        """
        if step < 0:
            raise ValueError(f"step must be 0 or more, got {step}")
        path = self._folder / f"step-{step:09d}{self._serializer.suffix}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for leftover in self._folder.glob(f"{WRITING}*"):  # of a process that was killed
                leftover.unlink(missing_ok=True)
            with replacing(path, self._serializer.suffix) as aside:
                self._serializer.save(state, aside)
                digest = _digest(aside)
                flush(aside)
                # From here to the new checksum, the old one must not confirm the new bytes.
                _checksum_file(path).unlink(missing_ok=True)
            with replacing(_checksum_file(path)) as aside:
                aside.write_text(digest)
                flush(aside)
            flush(self._folder)
        except OSError as error:
            raise CheckpointError(f"no checkpoint at {path}: {error.strerror or error}") from error
        self._drop_all_but(path)
        return path

    def load(self) -> tuple[int, Any] | None:
        """Read the latest valid checkpoint.

        Returns:
            Its step and state; None if there is none.

        Raises:
            CheckpointError: there are only checkpoints that another framework wrote.
        """
        for path in self._by_age():
            checksum = _checksum_file(path)
            if checksum.read_bytes().strip() == _digest(path).encode():
                return _step(path), self._serializer.load(path)
        others = sorted(self._folder.glob("step-*.sha256"))
        if others and not self._files():
            raise CheckpointError(
                f"{others[-1].with_suffix('')} was written by another framework, and this training "
                f"reads *{self._serializer.suffix}: name the framework, as in framework=pytorch"
            )
        return None

    def _by_age(self) -> list[Path]:
        """Finished checkpoints, the newest first; an unfinished one has no checksum."""
        finished = (f for f in self._files() if _checksum_file(f).is_file())
        return sorted(finished, key=_step, reverse=True)

    def _files(self) -> list[Path]:
        """All checkpoints, also those that a kill left half saved or half deleted."""
        return list(self._folder.glob(f"step-*{self._serializer.suffix}"))

    def _drop_all_but(self, latest: Path) -> None:
        """Delete all checkpoints but `latest` and the `KEPT - 1` before it."""
        checkpoints = self._by_age()
        kept = checkpoints[checkpoints.index(latest) :][:KEPT]
        for old in self._files():
            if old not in kept:
                _checksum_file(old).unlink(missing_ok=True)
                old.unlink(missing_ok=True)


def _step(path: Path) -> int:
    match = re.match(r"step-(\d+)", path.name)
    assert match is not None
    return int(match[1])


def _checksum_file(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
