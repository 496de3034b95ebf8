"""One seed for every random generator that a training may draw from."""

from __future__ import annotations

import random
import sys
from functools import cache, partial
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Any

from explr.core.framework import Seeder, frameworks
from explr.core.on_import import apply_on_import


def seed_everything(seed: int | None) -> None:
    """Seed the global generators of Python, numpy, PyTorch, TensorFlow and Keras.

    Nothing is imported for it: a package that is not imported yet is seeded when it is, and its
    import leaves Python's own generator where it stood.
    Generators made without a seed, such as `numpy.random.default_rng()`, are not reached; make
    them from `ctx.seed`. String hashes are not reached either: `PYTHONHASHSEED` counts only
    before the interpreter starts.

    Args:
        seed: from 0 to 2**32 - 1, or None to leave all of them as they are.
    """
    if seed is None:
        apply_on_import("seed", {})
        return
    seeders = _seeders()  # its imports may draw, and the finder looks into it
    random.seed(seed)
    _before_import.states.clear()  # of imports that nobody waited for
    if _before_import not in sys.meta_path:
        sys.meta_path.insert(0, _before_import)
    apply_on_import("seed", {name: partial(_seed, name, seed) for name in seeders})


class _BeforeImport(MetaPathFinder):
    """Remembers where Python's generator stood when the import of a package began.

    Some imports draw from it (Keras's does, by way of rich). Without this, the first training of
    a process, during which the import happens, would differ from a later one of the same seed.
    """

    def __init__(self) -> None:
        self.states: dict[str, tuple[Any, ...]] = {}

    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> None:
        if fullname in _seeders():
            self.states[fullname] = random.getstate()


_before_import = _BeforeImport()


def _seed(name: str, seed: int, module: ModuleType) -> None:
    state = _before_import.states.pop(name, None) or random.getstate()
    _seeders()[name](seed, module)
    random.setstate(state)


def _seed_numpy(seed: int, numpy_random: ModuleType) -> None:
    numpy_random.seed(seed)


@cache
def _seeders() -> dict[str, Seeder]:
    """How each package is seeded, by the module whose import makes it possible."""
    found: dict[str, Seeder] = {"numpy.random": _seed_numpy}
    for framework in frameworks():
        found |= framework.seeders
    return found
