"""Every use of Ray Tune that it does not document.

Read in ray 2.60.0. On an upgrade this file is the one to read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ray._private.authentication_test_utils import reset_auth_token_state
from ray._private.node import Node
from ray.experimental.internal_kv import _internal_kv_exists, _internal_kv_put

NAMESPACE = "explr"
"""Namespace of explr's keys in Ray's key-value store."""

EXPERIMENT_FILES = "experiment_state-*.json"
"""Where Ray keeps its trials: `CKPT_FILE_TMPL` of its `TuneController`.

No public function checks that they are whole. Read in 2.60.0.
"""


ASIDE = ("start_api_server", "start_log_monitor", "start_monitor")
"""Methods of Ray's node that start what only dashboards, drivers and autoscalers read."""


def read_authentication_again() -> None:
    """Let Ray take its token from the environment as it is now.

    Ray reads the variables once in a process, so that a second Ray with another token, or with
    none, is refused. Its own tests read them again in this way. Read in 2.60.0.
    """
    reset_auth_token_state()


@contextmanager
def without_aside() -> Iterator[None]:
    """Let `ray.init` start no dashboard's server, no log monitor and no autoscaler's monitor.

    A sweep on one machine reads nothing of them, and they take two seconds of a core, just when its
    first trials start. `ray.init(include_dashboard=False)` starts all three. Read in 2.60.0.
    """
    methods = {name: getattr(Node, name) for name in ASIDE}
    for name in ASIDE:
        setattr(Node, name, lambda node, **_: None)
    try:
        yield
    finally:
        for name, method in methods.items():
            setattr(Node, name, method)


def note_pruned(token: str, trial: int) -> None:
    """Have the actor of a trial end it as pruned at its waiting report.

    Ray Tune tells an actor to stop, but not why: that is the same for a trial that its scheduler
    stops and for one that is running when Ray's loop fails. Ray's store of keys and values, which
    every process of a cluster reaches, has no public name. Read in 2.60.0.

    Args:
        token: identifies the sweep.
        trial: number of the trial.
    """
    _internal_kv_put(f"{token}-{trial}", b"pruned", namespace=NAMESPACE)


def is_pruned(token: str, trial: int) -> bool:
    """Whether `note_pruned` was called for a trial, in any process of the cluster.

    It reads the store that `note_pruned` writes to. Read in 2.60.0.
    """
    return bool(_internal_kv_exists(f"{token}-{trial}", namespace=NAMESPACE))
