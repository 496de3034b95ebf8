"""Starts the companion: the process beside a training that uploads journals."""

from __future__ import annotations

import atexit
import json
import logging
import os
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass

from explr.core.errors import TrackingError
from explr.tracking.home import explr_home, rotated_log
from explr.utils.processes import ProcessIdentity, identity_of, python_path

log = logging.getLogger("explr.tracking")

LOG_FILE = "mirror.log"
"""Name of the companions' log file in EXPLR_HOME."""


@dataclass(frozen=True)
class Order:
    """What a companion is to do; it reads this from standard input, which no other user can see.

    Args:
        uri: tracking URI to upload to.
        pid: process to follow; None follows no process, and uploads what is there.
        started: when that process started.
        serve: start an MLflow server for a local store.
        port: first port to try for it.
        tell: descriptor to which is written why the sink cannot be used, and the address of the
            runs; None for none.
    """

    uri: str
    pid: int | None = None
    started: str = ""
    serve: bool = False
    port: int = 5000
    tell: int | None = None

    @property
    def followed(self) -> ProcessIdentity | None:
        """The process to follow."""
        return None if self.pid is None else ProcessIdentity(self.pid, self.started)


_children: dict[str, subprocess.Popen[bytes]] = {}
_first_words: dict[str, str] = {}
_closing: set[str] = set()


@atexit.register
def _let_finish() -> None:
    """Leave companions running at exit, without Popen's warning about running processes."""
    for child in _children.values():
        child.returncode = child.poll() or 0


def ensure_companion(uri: str, *, serve: bool, port: int) -> None:
    """Start a companion for this process and store, unless one runs.

    If the sink cannot be used, a warning says so as soon as the companion has had a first look.

    Args:
        uri: tracking URI to upload to.
        serve: start an MLflow server for a local store.
        port: first port to try for it.

    Raises:
        TrackingError: the process cannot be started.
    """
    if has_companion(uri):
        return
    me = identity_of()
    ear, tell = os.pipe()
    order = Order(uri, me.pid, me.started, serve, port, tell)
    # Its files are in UTF-8, whatever the locale of the training is.
    environment = {**os.environ, "PYTHONPATH": python_path(), "PYTHONUTF8": "1"}
    environment.pop("PYTHONWARNINGS", None)  # meant for the training, not for MLflow's modules
    try:
        with rotated_log(explr_home() / LOG_FILE).open("ab") as output:
            child = subprocess.Popen(
                # -P: files in EXPLR_HOME are not importable modules.
                [sys.executable, "-P", "-m", "explr.tracking.shipping.companion"],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd=explr_home(),
                env=environment,
                pass_fds=(tell,),
            )
    except OSError as error:
        os.close(ear)
        raise TrackingError(f"the upload process did not start: {error}") from error
    finally:
        os.close(tell)
    # It ends when the companion has told. No trial has it: a sweep's companion looks for all.
    threading.Thread(target=_pass_on, args=(uri, ear), name="first look", daemon=True).start()
    _children[uri] = child
    assert child.stdin is not None
    with suppress(BrokenPipeError):  # it died at once, as `has_companion` says then
        child.stdin.write(json.dumps(asdict(order)).encode())
        child.stdin.close()


def _pass_on(uri: str, ear: int) -> None:
    """Log what the companion tells: what its first look has found, and where the runs are."""
    with open(ear, encoding="utf-8") as words:
        for line in words:
            told = json.loads(line)
            if reason := told.get("reason"):
                _first_words[uri] = reason
                log.warning("%s. The training goes on", reason)
            elif uri not in _closing:
                _show(f"MLflow: {told['address']}")


def _show(line: str) -> None:
    if log.isEnabledFor(logging.INFO):
        log.info("%s", line)
    else:  # in a notebook, say, where nobody has set up logging
        print(line)


def tell_no_address(uri: str) -> None:
    """Tell no address of the runs any more: a line at the end has it.

    Args:
        uri: tracking URI.
    """
    _closing.add(uri)


def first_words(uri: str) -> str:
    """What speaks against a sink since the first look of this process's companion; "" if nothing.

    Args:
        uri: tracking URI.
    """
    return _first_words.get(uri, "")


def has_companion(uri: str) -> bool:
    """Whether the companion that this process started for a store still runs."""
    child = _children.get(uri)
    return child is not None and child.poll() is None
