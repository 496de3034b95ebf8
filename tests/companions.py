"""Finds the companions, the processes that upload to MLflow."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import psutil

ZYGOTE = str(Path(__file__).with_name("zygote.py"))
"""In the command line of what is a copy, whose environment cannot be seen; a companion's folder
is EXPLR_HOME."""


def processes_of(home: Path) -> list[psutil.Process]:
    """Processes of other sessions that were started with this EXPLR_HOME."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid == os.getpid():
                continue
            if ZYGOTE in process.cmdline():
                of_home = process.cwd() == os.path.realpath(home)
            else:
                of_home = process.environ().get("EXPLR_HOME") == str(home)
            if of_home:
                found.append(process)
    return found


def companions_of(home: Path) -> list[psutil.Process]:
    """The companions that were started with this EXPLR_HOME.

    Each leads a session: what one forks has, until it is another program, its command line too.
    """
    found = []
    for process in processes_of(home):
        with suppress(psutil.Error, ProcessLookupError):
            leads = os.getsid(process.pid) == process.pid
            names = {"explr.tracking.shipping.companion", ZYGOTE}
            if leads and names.intersection(process.cmdline()):
                found.append(process)
    return found
