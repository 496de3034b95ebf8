"""Copies the files that a training logs into the run's folder, so that the originals may change."""

from __future__ import annotations

import fcntl
import logging
import os
import posixpath
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from explr.core.errors import TrackingError, encoding_message
from explr.core.folders import WRITING, replacing_by
from explr.tracking.mlflow.names import MAX_ENDING, legal_file
from explr.tracking.tree import files_below, some

log = logging.getLogger("explr.tracking")

MOST_TOLD = 3
"""After so many warnings about changed names, further ones are not shown."""


class Copies:
    """The folder `artifacts` of a run.

    Args:
        run_folder: folder of the run.
    """

    def __init__(self, run_folder: Path) -> None:
        self._run_folder = run_folder
        self._root = run_folder / "artifacts"
        self._told: set[str] = set()

    def place(self, name: str) -> Path:
        """The path of an artifact; the folders above it are created.

        Args:
            name: its name, perhaps with folders; one that MLflow does not take is changed.

        Raises:
            ValueError: it would lie outside the folder.
            TrackingError: the folders cannot be created, or not under that name.
        """
        root = self._root.resolve()
        inner = posixpath.normpath(name)
        inside = inner != "." and not inner.startswith("/") and ".." not in inner.split("/")
        try:
            path = (root / self._legal(inner)).resolve() if inside else root
        except UnicodeEncodeError as error:
            raise TrackingError(encoding_message(error)) from None
        if path == root or not path.is_relative_to(root):
            raise ValueError(f"an artifact needs a name below the run's own folder, got {name!r}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrackingError(f"cannot make {path.parent}: {error.strerror}") from error
        return path

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Within the block, no other thread or process of the run is within such a block.

        Raises:
            TrackingError: the folder cannot be created.
        """
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._root, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise TrackingError(f"cannot make {self._root}: {error.strerror}") from error
        try:
            with suppress(OSError):  # some file systems have no locks
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def folder_of(self, copy: Path) -> str:
        """The folder of a copy among the artifacts, "" for the topmost one."""
        inner = copy.relative_to(self._root.resolve()).parent.as_posix()
        return "" if inner == "." else inner

    def within_run(self, copy: Path) -> str:
        """The path of a copy relative to the run's folder; it stays valid if that is moved."""
        run_folder = self._run_folder.resolve()
        return str(copy.relative_to(run_folder) if copy.is_relative_to(run_folder) else copy)

    def take(self, path: str | Path, folder: str | None) -> Path:
        """Copy a file, or a folder with the files in it that can be read.

        Args:
            path: what to copy.
            folder: folder to put it in; None takes the topmost one.

        Raises:
            FileNotFoundError: there is nothing at `path`.
            ValueError: `folder` lies outside, or there is a pipe, a socket or a device at `path`.
            TrackingError: it cannot be copied.
        """
        source = existing(path)
        copy = self.place(f"{folder}/{source.name}" if folder else source.name)
        try:
            if source.is_dir():
                self._take_tree(source, copy)
            elif source.resolve() != copy:
                with replacing_copy(copy) as aside:
                    shutil.copyfile(source, aside)
        except OSError as error:
            raise TrackingError(f"cannot keep {source}: {error.strerror or error}") from error
        return copy

    def write(self, name: str, write: Callable[[Path], Any]) -> Path:
        """Write a file, which replaces an earlier one in one step.

        Args:
            name: its name among the artifacts.
            write: writes a file; it is given a path with the same ending.

        Raises:
            ValueError: `name` lies outside.
            TrackingError: it cannot be written.
        """
        copy = self.place(name)
        try:
            with replacing_copy(copy) as aside:
                write(aside)
        except OSError as error:
            raise TrackingError(f"cannot write {copy}: {error.strerror or error}") from error
        return copy

    def _take_tree(self, source: Path, copy: Path) -> None:
        tree = files_below(source, without=self._root)
        copy.mkdir(exist_ok=True)
        skipped = list(tree.skipped)
        for name in tree.files:
            target = copy / self._legal(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with replacing_copy(target) as aside:
                    shutil.copyfile(source / name, aside)
            except FileNotFoundError:  # it was deleted meanwhile
                skipped.append(name)
        if skipped:
            log.warning(
                "%s is kept without %s: only files that can be read are", source, some(skipped)
            )

    def _legal(self, name: str) -> str:
        legal = legal_file(name)
        if legal != name and name not in self._told and len(self._told) < MOST_TOLD:
            self._told.add(name)
            last = len(self._told) == MOST_TOLD
            log.warning(
                "MLflow takes no artifact named %r: it is called %s%s",
                name,
                legal,
                "; further names are changed without a message" if last else "",
            )
        return legal


def replacing_copy(copy: Path) -> AbstractContextManager[Path]:
    """Replace a file in one step, so that no half of it is uploaded.

    Unlike `explr.core.folders.replacing`, it works for the longest names, and in two threads.
    """
    aside = copy.with_name(f"{WRITING}{uuid.uuid4().hex}{copy.suffix[-MAX_ENDING:]}")
    return replacing_by(aside, copy)


def existing(path: str | Path) -> Path:
    """The absolute path of a file or folder that exists.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: there is a pipe, a socket or a device, which may have no end.
    """
    source = Path(os.path.abspath(path))
    if not source.exists():
        raise FileNotFoundError(f"log_artifact: there is nothing at {source}")
    if not (source.is_file() or source.is_dir()):
        raise ValueError(f"log_artifact: {source} is neither a file nor a folder")
    return source


def content_of(folder: str | Path) -> list[Path]:
    """What lies in a folder, in the order of the names.

    Raises:
        NotADirectoryError: there is no folder.
    """
    source = Path(os.path.abspath(folder))
    if not source.is_dir():
        raise NotADirectoryError(f"log_artifacts: {source} is no folder; log_artifact takes a file")
    return sorted(source.iterdir())
