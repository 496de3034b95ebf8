"""Keeps the hashes of files in EXPLR_HOME, so that the content of an unchanged file is read once.

A file counts as unchanged while its size, inode and times of change are the same.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager

from explr.core.errors import TrackingError
from explr.tracking.home import explr_home
from explr.utils.lock import file_lock

log = logging.getLogger("explr")

FILE = "data-hashes.db"
"""File in EXPLR_HOME, which only its user can read."""

LOCK_TIMEOUT_S = 20.0

SETTLED_NS = 2_000_000_000
"""A hash is kept only of a file that has been left alone for so long: a change within the same tick
of the file system's clock would not be seen."""

Stamps = Mapping[str, os.stat_result]
"""What is known of files by their paths."""


def known_hashes(root: str, files: Stamps) -> dict[str, str]:
    """The kept hashes of those files that have not changed since.

    Args:
        root: a file, or the folder that the files are below.
        files: absolute paths of the files, with their state now.

    Returns:
        The hashes by path; a cache that cannot be read has none, and a warning says so.
    """
    rows: list[tuple[bytes, str, str]] = []
    with _told(), _opened() as database:
        query = f"SELECT path, stamp, hash FROM files WHERE {BELOW}"
        rows = database.execute(query, _below(root)).fetchall()
    kept = {os.fsdecode(path): (stamp, digest) for path, stamp, digest in rows}
    return {
        path: kept[path][1]
        for path, info in files.items()
        if path in kept and kept[path][0] == _stamp(info)
    }


def keep_hashes(root: str, files: Stamps, hashes: Mapping[str, str]) -> None:
    """Keep the hashes of files, and forget those of files that are no longer there.

    Args:
        root: a file, or the folder that the files are below.
        files: absolute paths of all files, with their state before they were hashed.
        hashes: the new hashes by path.
    """
    settled = time.time_ns() - SETTLED_NS
    rows = [
        (os.fsencode(path), _stamp(files[path]), digest)
        for path, digest in hashes.items()
        if max(files[path].st_mtime_ns, files[path].st_ctime_ns) < settled
    ]
    with _told(), _opened() as database:
        found = database.execute(f"SELECT path FROM files WHERE {BELOW}", _below(root))
        gone = [row for row in found if os.fsdecode(row[0]) not in files]
        database.executemany("DELETE FROM files WHERE path = ?", gone)
        database.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", rows)


BELOW = "path = ? OR (path > ? AND path < ?)"
"""Holds for a path and for all below it."""


def _below(root: str) -> tuple[bytes, bytes, bytes]:
    path = os.fsencode(root)
    return path, path + b"/", path + b"0"  # the character after the slash


def _stamp(info: os.stat_result) -> str:
    return f"{info.st_size} {info.st_mtime_ns} {info.st_ctime_ns} {info.st_ino}"


@contextmanager
def _opened() -> Iterator[sqlite3.Connection]:
    path = explr_home() / FILE
    with file_lock(path.with_suffix(".lock"), LOCK_TIMEOUT_S):  # also where SQLite's cannot be
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT, 0o600))
        try:
            with closing(sqlite3.connect(f"{path.as_uri()}?nolock=1", uri=True)) as held, held:
                held.execute(
                    "CREATE TABLE IF NOT EXISTS files (path BLOB PRIMARY KEY, stamp, hash)"
                )
                yield held
        except sqlite3.OperationalError:  # the disk is full, say
            raise
        except sqlite3.DatabaseError:  # damaged: it is begun anew
            path.unlink()
            raise


@contextmanager
def _told() -> Iterator[None]:
    """Log what keeps the hashes from being read or kept: they cost time, and nothing else."""
    try:
        yield
    except (OSError, TrackingError, sqlite3.Error) as error:
        log.warning("the hashes of data are not kept, and are computed each time: %s", error)
