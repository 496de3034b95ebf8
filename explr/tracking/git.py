"""What git knows of a folder."""

from __future__ import annotations

import subprocess
from pathlib import Path

TIMEOUT_S = 20.0
"""How long git may take for an answer."""


def git(folder: Path, *arguments: str) -> str | None:
    """What git answers; None where it does not know the folder, or is not there.

    Args:
        folder: where it is asked.
        arguments: subcommand and options; nothing that changes the repository.
    """
    try:
        answer = subprocess.run(
            ["git", "--no-optional-locks", *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.decode(errors="replace") if answer.returncode == 0 else None
