"""One seed for every random generator that a training may draw from."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from functools import partial
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Any

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
    random.seed(seed)
    if _before_import not in sys.meta_path:
        sys.meta_path.insert(0, _before_import)
    apply_on_import("seed", {name: partial(_seed, name, seed) for name in _SEEDERS})


class _BeforeImport(MetaPathFinder):
    """Remembers where Python's generator stood when the import of a package began.

    Some imports draw from it (Keras's does, by way of rich). Without this, the first training of
    a process, during which the import happens, would differ from a later one of the same seed.
    """

    def __init__(self) -> None:
        self.states: dict[str, tuple[Any, ...]] = {}

    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> None:
        if fullname in _SEEDERS:
            self.states[fullname] = random.getstate()


_before_import = _BeforeImport()


def _seed(name: str, seed: int, module: ModuleType) -> None:
    state = _before_import.states.pop(name, None) or random.getstate()
    _SEEDERS[name](seed, module)
    random.setstate(state)


def _seed_numpy(seed: int, numpy_random: ModuleType) -> None:
    numpy_random.seed(seed)


def _seed_torch(seed: int, torch: ModuleType) -> None:
    torch.manual_seed(seed)


def _seed_tensorflow(seed: int, tensorflow: ModuleType) -> None:
    # Not through Keras, which may itself be in the middle of importing TensorFlow.
    tensorflow.random.set_seed(seed)


def _seed_keras(seed: int, keras: ModuleType) -> None:
    import numpy

    # Keras seeds numpy as well: a late import must not make a training draw the same numbers a
    # second time.
    state = numpy.random.get_state()
    keras.utils.set_random_seed(seed)
    numpy.random.set_state(state)


_SEEDERS: dict[str, Callable[[int, ModuleType], None]] = {
    "numpy.random": _seed_numpy,
    "torch": _seed_torch,
    "tensorflow": _seed_tensorflow,
    "keras": _seed_keras,
}
"""How each package is seeded, by the module whose import makes it possible."""
