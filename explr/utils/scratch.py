"""Temporary folders of this process; what a killed process has left is removed by the next one."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path

from explr.core.errors import FileError
from explr.core.folders import read_json, replace_file
from explr.utils.processes import ProcessIdentity, identity_of, is_alive

log = logging.getLogger("explr")

PREFIX = "explr-"
"""Prefix of the name of each folder."""

OWNER = "owner.json"
"""File of each folder: the process that it belongs to."""

SOCKET_PATH = 103
"""The most bytes that the path of a Unix socket may have: 103 in macOS, 107 in Linux."""

NAME = len(f"/{PREFIX}12345678/")
"""Bytes that a folder adds to the path of what is in it."""


def scratch_folder(socket_name: str | None = None) -> tempfile.TemporaryDirectory[str]:
    """Make a folder that only this user can enter.

    Args:
        socket_name: name of a Unix socket in it; the folder is elsewhere than other temporary
            files if their folder would make the socket's path too long.

    Raises:
        OSError: no folder can be made, or none with a path that is short enough.
    """
    _remove_left_once()
    if socket_name is None:
        return _made(tempfile.gettempdir())
    base = short_folder(SOCKET_PATH - NAME - len(os.fsencode(socket_name)))
    if base is None:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), tempfile.gettempdir())
    return _made(base)


def short_folder(most: int) -> str | None:
    """A folder for temporary files whose path is short enough; None if there is none.

    Args:
        most: the most bytes of its path.
    """
    return next((one for one in _bases() if len(os.fsencode(one)) <= most), None)


def shorten_socket_paths() -> None:
    """Have `multiprocessing` make its sockets where their paths are short enough.

    Worker processes of a DataLoader need one. Python itself does so from 3.14 on.
    """
    most = SOCKET_PATH - len("/pymp-12345678/listener-12345678")
    usual, base = tempfile.gettempdir(), short_folder(most)
    if base in (None, usual):
        return
    from multiprocessing.util import get_temp_dir

    tempfile.tempdir = base
    try:
        get_temp_dir()  # makes its folder once, and removes it at exit
    finally:
        tempfile.tempdir = usual


def _bases() -> Iterator[str]:
    """The folders for temporary files, the usual one first."""
    for base in (tempfile.gettempdir(), "/tmp", "/var/tmp", os.environ.get("XDG_RUNTIME_DIR")):
        if base and os.path.isabs(base) and os.access(base, os.W_OK | os.X_OK):
            yield base


def _made(base: str) -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory(prefix=PREFIX, dir=base, ignore_cleanup_errors=True)
    replace_file(Path(folder.name, OWNER), {"machine": _machine(), **asdict(identity_of())})
    return folder


def _machine() -> str:
    """Where a pid has its meaning: the host, and in Linux the namespace."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return f"{socket.gethostname()} {space}"


@cache
def _remove_left_once() -> None:
    remove_left()


def remove_left() -> None:
    """Remove the folders of processes that were killed; who makes a folder does so by itself."""
    for base in dict.fromkeys(_bases()):
        for folder in Path(base).glob(f"{PREFIX}*"):
            if _is_left(folder):
                log.debug("%s was left by a process that is gone, and is removed", folder)
                shutil.rmtree(folder, ignore_errors=True)  # another process may remove it too


def _is_left(folder: Path) -> bool:
    """Whether a folder certainly belonged to a process of this user that is gone."""
    try:
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            return False
        owner = read_json(folder / OWNER)
        if owner is None or owner.pop("machine") != _machine():
            return False
        return not is_alive(ProcessIdentity(**owner))
    except (OSError, FileError, KeyError, TypeError):  # it is no folder of ours
        return False
