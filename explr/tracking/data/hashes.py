"""Hashes files and folders: 128 bits of BLAKE2b, which `b2sum --length=128` gives too."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from explr.core.errors import UsageError
from explr.tracking.data.outputs import is_of_dvc, outputs_in
from explr.tracking.tree import files_below, some

log = logging.getLogger("explr")

KIND = "blake2b-128"
"""The kind of the hashes that explr computes."""

SILENT_S = 1.0
"""Seconds of hashing after which a line says how much there is."""

_new = partial(hashlib.blake2b, digest_size=16)


@dataclass(frozen=True)
class DataHash:
    """The data of a run at one path.

    Args:
        path: as the config has it; for one of several outputs of DVC with the path of that.
        hash: the hash of its content, in hexadecimal digits.
        kind: what kind of hash that is.
        source: absolute path of the file or folder.
        size: its size in bytes; None if it is not known.
    """

    path: str
    hash: str
    kind: str
    source: str
    size: int | None


def check_paths(paths: Sequence[str], root: Path) -> None:
    """Check that there is data at all paths.

    Args:
        paths: files and folders.
        root: what relative paths are relative to.

    Raises:
        UsageError: naming each path with nothing there, or with what cannot be read.
    """
    absent = [path for path in paths if not _at(root, path).exists()]
    if absent:
        named = " and ".join(absent)
        raise UsageError(f"data.paths names {named}, and there is no such file or folder in {root}")
    for path in paths:
        if not os.access(_at(root, path), os.R_OK):
            raise UsageError(f"data.paths names {path}, which this user may not read")
        if is_of_dvc(_at(root, path)):
            outputs_in(_at(root, path))


def hash_paths(paths: Sequence[str], root: Path) -> list[DataHash]:
    """Hash files and folders; of a file of DVC's the hashes that it has are taken.

    The hash of a file is that of its content. That of a folder is the hash of the lines which
    `b2sum` would print of its files, in the order of the bytes of their names.

    Args:
        paths: files and folders.
        root: what relative paths are relative to.

    Raises:
        UsageError: something cannot be read.
    """
    found: list[DataHash] = []
    for path in paths:
        place = _at(root, path)
        if is_of_dvc(place):
            outputs = outputs_in(place)
            for out in outputs:
                name = path if len(outputs) == 1 else f"{path}:{out.path}"
                source = os.path.abspath(place.parent / out.path)
                found.append(DataHash(name, out.hash, out.kind, source, out.size))
        else:
            digest, size = _hashed(place)
            found.append(DataHash(path, digest, KIND, str(place), size))
    return found


def _at(root: Path, path: str) -> Path:
    return Path(os.path.abspath(root / Path(path).expanduser()))


def _hashed(place: Path) -> tuple[str, int]:
    """Hash and size of a file or folder."""
    from explr.tracking.data.kept import keep_hashes, known_hashes  # it imports sqlite3

    is_folder = place.is_dir()
    tree = files_below(place) if is_folder else None
    if tree is not None and tree.skipped:
        log.warning("%s: not hashed, since they cannot be read: %s", place, some(tree.skipped))
    names = sorted(tree.files, key=os.fsencode) if tree is not None else [""]
    absolute = {name: os.path.join(place, name) if name else str(place) for name in names}
    try:
        files = {path: os.stat(path) for path in absolute.values()}
        hashes = known_hashes(str(place), files)
        left = {path: info.st_size for path, info in files.items() if path not in hashes}
        if left:
            fresh = _read(place, left)
            keep_hashes(str(place), files, fresh)
            hashes |= fresh
    except OSError as error:
        raise UsageError(f"data.paths: {error.filename} cannot be read: {error.strerror}") from None
    size = sum(info.st_size for info in files.values())
    if not is_folder:
        return hashes[str(place)], size
    lines = _new()
    for name, path in absolute.items():
        lines.update(_line(name, hashes[path]))
    return lines.hexdigest(), size


def _read(place: Path, sizes: Mapping[str, int]) -> dict[str, str]:
    """The hashes of files, of several at the same time."""
    from concurrent.futures import ThreadPoolExecutor

    from explr.utils.host import cpu_cores

    with (
        _telling(place, sum(sizes.values()), len(sizes)),
        ThreadPoolExecutor(min(cpu_cores(), len(sizes)), "hash data") as pool,
    ):
        try:
            return dict(zip(sizes, pool.map(_hash_of, sizes), strict=True))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _hash_of(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, _new).hexdigest()


def _line(name: str, digest: str) -> bytes:
    """What `b2sum` prints of a file."""
    written = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    escaped = "\\" if written != name else ""
    return f"{escaped}{digest}  ".encode() + os.fsencode(written) + b"\n"


@contextmanager
def _telling(place: Path, size: int, count: int) -> Iterator[None]:
    """Log what is being hashed, if that takes long."""
    files = "" if count == 1 else f" in {count} files"
    words = "hashing %.1f GB of data%s: %s", size / 1e9, files, place
    timer = threading.Timer(SILENT_S, log.info, words)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
