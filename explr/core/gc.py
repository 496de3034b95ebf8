"""No garbage is collected while a command starts, when next to nothing is garbage.

A collection looks at every object there is, and importing a framework makes a million of them.
"""

from __future__ import annotations

import gc

_postponed = False


def postpone_collection() -> None:
    """Collect nothing until `resume_collection` is called, unless that was switched off before."""
    global _postponed
    if gc.isenabled():
        gc.disable()
        _postponed = True


def resume_collection() -> None:
    """Collect again, what was made meanwhile excepted: it stays, and is never looked at again."""
    global _postponed
    if _postponed:
        gc.freeze()
        gc.enable()
        _postponed = False
