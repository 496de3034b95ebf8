"""Seeds every random generator that a training may use."""

from __future__ import annotations

import random
import secrets
import sys
from functools import cache, partial
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Any

from explr.core.framework import Seeder, frameworks
from explr.core.on_import import apply_on_import


def seed_everything(seed: int | None) -> None:
    """Seed the global generators of Python, numpy, PyTorch, TensorFlow and Keras.

    This imports nothing: a package that is imported later is seeded then, and its import does not
    change the state of Python's generator.
    Generators made without a seed, such as `numpy.random.default_rng()`, are not seeded; make
    them from `ctx.seed`. String hashes are not seeded either: set `PYTHONHASHSEED` before the
    interpreter starts.

    Args:
        seed: from 0 to 2**32 - 1, or None to leave all generators as they are.
    """
    if seed is None:
        apply_on_import("seed", {})
        return
    seeders = _seeders()  # before seeding: its imports may draw
    random.seed(seed)
    _before_import.states.clear()  # left by imports that are not seeded
    if _before_import not in sys.meta_path:
        sys.meta_path.insert(0, _before_import)
    apply_on_import("seed", {name: partial(_seed, name, seed) for name in seeders})


_apart: int | None = None


def seed_apart() -> None:
    """Seed the generators of a forked process, which else draws what all other forks draw.

    A fork shares the state of every generator that its parent had imported. Python reseeds its own.
    """
    global _apart
    _apart = secrets.randbits(32)
    seed_everything(_apart)


def take_seed_apart() -> int | None:
    """The seed of `seed_apart`, for the first training of this process; None for any other."""
    global _apart
    seed, _apart = _apart, None
    return seed


class _BeforeImport(MetaPathFinder):
    """Saves the state of Python's generator when the import of a package begins.

    Some imports draw from it (Keras does, through rich). Without this, the first training of a
    process would differ from a later one with the same seed.
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


@cache
def _seeders() -> dict[str, Seeder]:
    """The function that seeds each package, by the module that it needs."""
    found: dict[str, Seeder] = {"numpy.random": lambda seed, module: module.seed(seed)}
    for framework in frameworks():
        found |= framework.seeders
    return found
