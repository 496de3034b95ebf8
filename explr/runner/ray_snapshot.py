"""Ray Tune's snapshot of a sweep: whether there is one to go on with."""

from __future__ import annotations

import json
import logging
import pickle
from pathlib import Path

import cloudpickle

log = logging.getLogger("explr.sweep")


def has_snapshot(folder: Path) -> bool:
    """Whether Ray left a whole snapshot of a sweep.

    Ray copies its files there one by one: a kill meanwhile leaves a part, on which it would fail
    each time. Without a snapshot the sweep goes on by its study.

    Args:
        folder: folder of Ray's own files within the sweep's.
    """
    from explr.tuning.ray_search import STATE_FILE

    states = sorted(folder.glob("experiment_state-*.json"))
    searches = sorted(folder.glob(STATE_FILE.format("*")))
    if not states or not searches:
        return False
    try:
        json.loads(states[-1].read_bytes())
        cloudpickle.loads(searches[-1].read_bytes())  # our own, which Ray loads next
    except (ValueError, EOFError, pickle.UnpicklingError) as error:
        log.warning("Ray's snapshot in %s is torn, schedulers begin anew: %s", folder, error)
        return False
    return True
