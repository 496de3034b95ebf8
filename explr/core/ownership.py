"""Whose a file is: those of others may name commands to run and files to upload."""

from __future__ import annotations

import os
from pathlib import Path

from explr.core.errors import UsageError


def is_foreign(path: Path) -> bool:
    """Whether a file or folder belongs to another user.

    Raises:
        OSError: there is none, or it cannot be looked at.
    """
    return path.stat().st_uid != os.getuid()


def refuse_foreign(path: Path, why: str, remedy: str = "add --trust") -> None:
    """Refuse what belongs to another user.

    Args:
        path: a file or folder.
        why: what is done with it, as the end of a sentence that begins with `it`.
        remedy: what takes it all the same.

    Raises:
        UsageError: it does.
    """
    if is_foreign(path):
        raise UsageError(
            f"{path} belongs to {_owner(path)}, and {why}: look at it first, then {remedy}"
        )


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except KeyError:  # the system has no name for it
        return f"the user {path.stat().st_uid}"
