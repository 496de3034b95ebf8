"""No framework: a training in plain Python, NumPy or scikit-learn."""

from __future__ import annotations

import errno
import pickle
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from explr.core.checkpoint import Serializer
from explr.core.errors import CheckpointError
from explr.core.framework import NO_FRAMEWORK, Seeder
from explr.core.on_import import apply_on_import
from explr.frameworks.device import cuda_index, device_missing
from explr.utils.gpu import nvidia_gpu_count
from explr.utils.memory import set_configured_limit
from explr.utils.seed import seed_everything

_in_force = ExitStack()
"""Takes back what the last training set."""


class PickleSerializer:
    """Writes any object that pickles: arrays, estimators, mappings of them.

    Reading runs code from the file, as with every pickle: load checkpoints of your own only.
    """

    suffix = ".pkl"

    def save(self, state: Any, path: Path) -> None:
        """Write `state` to `path`.

        Raises:
            CheckpointError: `state` holds an object that does not pickle, or that could not be
                read back; the message names where it stands.
            OSError: the file cannot be written.
        """
        if (fault := _fault_of(state)) is not None:
            where, error = _culprit(state, "the state", fault)
            raise CheckpointError(
                f"{where} could not be read back from a checkpoint: {type(error).__name__}: "
                f"{error}; give what it holds, as numbers, texts, arrays, and lists and mappings "
                "of them"
            ) from error
        with path.open("wb") as file:
            pickle.dump(state, file, pickle.HIGHEST_PROTOCOL)

    def load(self, path: Path) -> Any:
        """Read what `save` wrote.

        Raises:
            CheckpointError: a class or function in it is not there any more.
        """
        with path.open("rb") as file:
            try:
                return pickle.load(file)
            except (AttributeError, ImportError) as error:
                raise CheckpointError(
                    f"{path} cannot be read: {error}; bring back what it was made of, or delete "
                    f"the folder {path.parent} to start anew"
                ) from error


def _fault_of(state: Any) -> Exception | None:
    """Why a state could not be read back; arrays are handed through, not copied, to find out."""
    arrays: list[pickle.PickleBuffer] = []
    try:
        # Objects of the user's may raise what they like.
        pickle.loads(pickle.dumps(state, 5, buffer_callback=arrays.append), buffers=arrays)
    except Exception as error:  # noqa: BLE001
        return error
    return None


def _culprit(state: Any, where: str, fault: Exception) -> tuple[str, Exception]:
    """The innermost part of a mapping or list that has a fault, and the fault."""
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(state, Mapping):
        items = state.items()
    elif isinstance(state, (list, tuple)):
        items = enumerate(state)
    for key, value in items:
        if (inner := _fault_of(value)) is not None:
            return _culprit(value, f"{where}[{key!r}]", inner)
    return where, fault


class PlainPython:
    """A training without a framework behind the protocol `Framework`."""

    name = NO_FRAMEWORK
    packages: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    distributions: tuple[str, ...] = ()
    extra: str | None = None
    probe: str | None = None
    serializer: Serializer = PickleSerializer()
    seeders: Mapping[str, Seeder] = {}
    has_ranks = False

    def resolve_device(self, requested: str) -> str:
        """See `Framework.resolve_device`; `auto` is the CPU, where NumPy computes."""
        if requested in ("auto", "cpu"):
            return "cpu"
        gpus = nvidia_gpu_count()
        if (cuda_index(requested) or 0) >= gpus:
            raise device_missing(requested, "driver", gpus)
        return requested

    def configure(
        self,
        *,
        seed: int | None,
        deterministic: bool,
        threads: int | None,
        device: str,
        memory_limit_gb: float,
    ) -> None:
        """See `Framework.configure`.

        `threads` holds for the BLAS and OpenMP libraries that NumPy and scikit-learn load. With
        one thread and a seed NumPy repeats exactly; there is nothing else to make deterministic.
        """
        set_configured_limit(memory_limit_gb)
        _in_force.close()
        if deterministic and threads is None:
            threads = 1
        limit = {} if threads is None else {"numpy": partial(_limit_threads, threads)}
        apply_on_import("framework", limit)
        seed_everything(seed)

    def limit_memory(self, module: ModuleType, limit_gb: float, setting: str) -> None:
        """See `Framework.limit_memory`; there is no allocator to limit."""

    def peak_memory_gb(self) -> float | None:
        """See `Framework.peak_memory_gb`."""
        return None

    def has_used_gpu(self) -> bool:
        """See `Framework.has_used_gpu`."""
        return False

    def is_out_of_memory(self, error: BaseException) -> bool:
        """See `Framework.is_out_of_memory`; also what CuPy and JAX raise."""
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            return True
        if isinstance(error, OSError):
            return error.errno == errno.ENOMEM
        return isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" in str(error)


def _limit_threads(threads: int, numpy: ModuleType) -> None:
    from threadpoolctl import threadpool_limits

    limits = threadpool_limits(threads)
    _in_force.callback(limits.restore_original_limits)
