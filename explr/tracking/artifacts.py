"""Copies the files that a training logs into the run's folder, so that the originals may change."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from explr.core.errors import TrackingError


class Copies:
    """The folder `artifacts` of a run.

    Args:
        run_folder: folder of the run.
    """

    def __init__(self, run_folder: Path) -> None:
        self._run_folder = run_folder
        self._root = run_folder / "artifacts"

    def place(self, name: str) -> Path:
        """The path of an artifact; the folders above it are created.

        Args:
            name: its name, perhaps with folders.

        Raises:
            ValueError: it would lie outside the folder.
            TrackingError: the folders cannot be created.
        """
        root = self._root.resolve()
        path = (root / name).resolve()
        if not path.is_relative_to(root) or path == root:
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
        """Copy a file or a folder.

        Args:
            path: what to copy.
            folder: folder to put it in; None takes the topmost one.

        Raises:
            FileNotFoundError: there is nothing at `path`.
            ValueError: `folder` lies outside.
            TrackingError: it cannot be copied.
        """
        source = existing(path)
        copy = self.place(f"{folder}/{source.name}" if folder else source.name)
        try:
            if source.is_dir():
                shutil.copytree(
                    source,
                    copy,
                    ignore=self._own,
                    ignore_dangling_symlinks=True,
                    dirs_exist_ok=True,
                )
            elif source.resolve() != copy:
                shutil.copyfile(source, copy)
        except OSError as error:  # what `copytree` raises has no `strerror`, but a list
            raise TrackingError(f"cannot keep {source}: {error.strerror or error}") from error
        return copy

    def write(self, text: str, name: str) -> Path:
        """Write a text to a file.

        Raises:
            ValueError: `name` lies outside.
            TrackingError: it cannot be written.
        """
        copy = self.place(name)
        try:
            copy.write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise TrackingError(f"cannot write {copy}: {error.strerror}") from error
        return copy

    def _own(self, folder: str, names: list[str]) -> set[str]:
        """Names to leave out: the artifacts themselves, when the run's folder is copied."""
        here = Path(folder).resolve() == self._run_folder.resolve()
        return {self._root.name} & set(names) if here else set()


def existing(path: str | Path) -> Path:
    """The absolute path of something that exists.

    Raises:
        FileNotFoundError: there is nothing at `path`.
    """
    source = Path(os.path.abspath(path))
    if not source.exists():
        raise FileNotFoundError(f"log_artifact: there is nothing at {source}")
    return source
