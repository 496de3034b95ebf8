"""Postpones garbage collection while a command starts, when almost nothing is garbage.

A collection visits every object, and importing a framework creates a million of them.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_postponed = False


def postpone_collection() -> None:
    """Switch collection off until `resume_collection`; do nothing if it is off already."""
    global _postponed
    if gc.isenabled():
        gc.disable()
        _postponed = True


def resume_collection() -> None:
    """Switch collection on again. Objects made in the meantime are frozen and never visited."""
    global _postponed
    if _postponed:
        gc.freeze()
        gc.enable()
        _postponed = False


@contextmanager
def collection_paused() -> Iterator[None]:
    """Switch collection off while the block makes many objects that stay."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
