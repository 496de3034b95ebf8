"""Lists the files below a folder, and opens none: a pipe would block, a looping link never end."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple


class Tree(NamedTuple):
    """The files below a folder.

    Args:
        files: their paths relative to the folder, in order.
        skipped: what cannot be read: links that lead nowhere or back, pipes, sockets, devices, and
            what this user may not read.
    """

    files: list[str]
    skipped: list[str]


def files_below(folder: Path, without: Path | None = None) -> Tree:
    """List the files below a folder; links are followed.

    Args:
        folder: the folder.
        without: a folder to leave out.
    """
    tree = Tree([], [])
    left_out = _identity(without) if without is not None and without.exists() else None
    waiting = [("", {_identity(folder)})]
    while waiting:
        inner, above = waiting.pop()
        try:
            entries = list(os.scandir(folder / inner))
        except OSError:
            tree.skipped.append(inner or ".")
            continue
        for entry in entries:
            name = f"{inner}/{entry.name}" if inner else entry.name
            try:
                info = entry.stat()
            except OSError:  # a link that leads nowhere
                tree.skipped.append(name)
                continue
            here = (info.st_dev, info.st_ino)
            if stat.S_ISDIR(info.st_mode) and here not in above:
                if here != left_out:
                    waiting.append((name, above | {here}))
            elif stat.S_ISREG(info.st_mode) and os.access(entry.path, os.R_OK):
                tree.files.append(name)
            else:
                tree.skipped.append(name)
    return Tree(sorted(tree.files), sorted(tree.skipped))


def some(names: list[str], most: int = 3) -> str:
    """The first of some names, and how many there are beside them."""
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _identity(folder: Path) -> tuple[int, int]:
    info = folder.stat()
    return info.st_dev, info.st_ino
