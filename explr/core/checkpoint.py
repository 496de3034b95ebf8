"""Checkpoints that survive a kill in the middle of saving.

A checkpoint is written under another name, flushed to the disk and renamed; only then a file with
its checksum is written. Some checkpoints before it are kept. Loading takes the latest checkpoint
whose checksum is right.
"""

from __future__ import annotations

import errno
import hashlib
import math
import re
from pathlib import Path
from typing import Any, Protocol

from explr.core.claims import Claim
from explr.core.errors import CheckpointError
from explr.core.folders import drop_unfinished, flush, replacing

CHECKPOINTS = "checkpoints"
"""Folder of a run's folder: its checkpoints."""

KEPT = 2
"""Checkpoints always kept in a folder: the latest one and a fallback."""

CLAIM = ".claim"
"""File in the folder that names the run that writes there."""

GIB = 2**30
"""Bytes in a GiB."""


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
        keep: how many of the latest are kept, at least `KEPT`.
        max_gb: GiB that the kept ones may have together; the older ones of them go first, but
            `KEPT` are kept whatever their size. None sets no limit.
        run: what a person knows the run by that alone may write there, until `close`; None lets
            everybody write.
    """

    def __init__(
        self,
        folder: Path,
        serializer: Serializer,
        *,
        keep: int = KEPT,
        max_gb: float | None = None,
        run: str | None = None,
    ) -> None:
        self._folder = folder
        self._serializer = serializer
        self._keep = max(keep, KEPT)
        self._max_bytes = math.inf if max_gb is None else max_gb * GIB
        self._claim = None if run is None else Claim(folder / CLAIM, run)

    def save(self, state: Any, step: int) -> Path:
        """Write a checkpoint, and delete the older ones that are not to be kept.

        Checkpoints of later steps are deleted too: a training that saves an earlier step has
        started again, and its own state is the latest.

        Args:
            state: training state that the serializer can write.
            step: step of the state, 0 or more.

        Returns:
            The file.

        Raises:
            CheckpointError: the file cannot be written, the state could not be read back, or
                another run writes to the folder; earlier checkpoints stay.
            ValueError: `step` is negative.
        """
        if step < 0:
            raise ValueError(f"step must be 0 or more, got {step}")
        path = self.path_of(step)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if self._claim is not None and (holder := self._claim.make()) is not None:
                raise CheckpointError(
                    f"the checkpoints in {self._folder} are those of another run, which has not "
                    f"ended yet: {holder}; give this run a folder of its own (hydra.run.dir=…), "
                    "or stop the other one"
                )
            drop_unfinished(self._folder)
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
            if error.errno == errno.ENOSPC:
                raise CheckpointError(f"no space left at {path}: it is not saved") from error
            raise CheckpointError(f"no checkpoint at {path}: {error.strerror or error}") from error
        self._drop_all_but(path)
        return path

    def path_of(self, step: int) -> Path:
        """The file of a step's checkpoint."""
        return self._folder / f"step-{step:09d}{self._serializer.suffix}"

    def load(self) -> tuple[int, Any] | None:
        """Read the latest valid checkpoint.

        Returns:
            Its step and state; None if there is none.

        Raises:
            CheckpointError: there are only checkpoints that another framework wrote.
        """
        if (path := self.latest()) is not None:
            return step_of(path), self._serializer.load(path)
        others = sorted(self._folder.glob("step-*.sha256"))
        if others and not self._files():
            raise CheckpointError(
                f"{others[-1].with_suffix('')} was written by another framework, and this training "
                f"reads *{self._serializer.suffix}: name the framework, as in framework=pytorch"
            )
        return None

    def latest(self) -> Path | None:
        """The file of the latest valid checkpoint; None if there is none."""
        for path in self._by_age():
            if _checksum_file(path).read_bytes().strip() == _digest(path).encode():
                return path
        return None

    def close(self) -> None:
        """Let other runs write to the folder."""
        if self._claim is not None:
            self._claim.give_back()

    def _by_age(self) -> list[Path]:
        """Finished checkpoints, the newest first; an unfinished one has no checksum."""
        finished = (f for f in self._files() if _checksum_file(f).is_file())
        return sorted(finished, key=step_of, reverse=True)

    def _files(self) -> list[Path]:
        """All checkpoints, also those that a kill left half saved or half deleted."""
        return list(self._folder.glob(f"step-*{self._serializer.suffix}"))

    def _drop_all_but(self, latest: Path) -> None:
        """Delete all checkpoints but `latest` and as many before it as are to be kept."""
        checkpoints = self._by_age()
        kept = checkpoints[checkpoints.index(latest) :][: self._keep]
        while len(kept) > KEPT and sum(map(_size, kept)) > self._max_bytes:
            kept.pop()
        for old in self._files():
            if old not in kept:
                _checksum_file(old).unlink(missing_ok=True)
                old.unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size


def step_of(path: Path) -> int:
    """The step of a checkpoint's file."""
    match = re.match(r"step-(\d+)", path.name)
    assert match is not None
    return int(match[1])


def _checksum_file(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
