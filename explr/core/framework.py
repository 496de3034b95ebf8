"""What explr asks of a deep-learning framework, and where each one is registered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol

from explr.core.checkpoint import Serializer

REGISTERED: Mapping[str, str] = {
    "pytorch": "explr.frameworks.pytorch:PyTorch",
    "tensorflow": "explr.frameworks.tensorflow:TensorFlow",
    "none": "explr.frameworks.none:PlainPython",
}
"""Module and class of each framework, by the name that the configuration has for it."""

AUTO = "auto"
"""Name that stands for the framework which the training imports."""

NO_FRAMEWORK = "none"
"""Name of a training in plain Python, NumPy or scikit-learn."""

Seeder = Callable[[int, ModuleType], None]
"""Seeds the random generators of a module."""


class Framework(Protocol):
    """A deep-learning framework. No method imports its packages, unless it says so.

    Args:
        name: how the configuration names it.
        packages: what is imported of it, the main package first; empty for plain Python.
        libraries: packages that train with it; `auto` takes them for a sign of it.
        distributions: what is installed for it; a run records their versions.
        extra: the extra of `explr-train` that installs it; None if it needs none.
        probe: module that `explr verify` runs to check it; None if it has no check.
            Run as a process it tells facts; its function `checks` judges them.
        serializer: how it writes checkpoints.
        seeders: how its random generators are seeded, by the module whose import makes it possible.
        has_ranks: whether several processes can train together: `framework.processes`.
    """

    name: str
    packages: tuple[str, ...]
    libraries: tuple[str, ...]
    distributions: tuple[str, ...]
    extra: str | None
    probe: str | None
    serializer: Serializer
    seeders: Mapping[str, Seeder]
    has_ranks: bool

    def resolve_device(self, requested: str) -> str:
        """Find out which device a training gets.

        The framework is imported only if a GPU is requested, or is available for `auto`.

        Args:
            requested: `auto`, `cpu`, `cuda` or `cuda:N`.

        Returns:
            The device in PyTorch's spelling: `cpu`, `cuda` or `cuda:N`.

        Raises:
            DeviceError: the device is not there; says which are.
        """
        ...

    def configure(
        self,
        *,
        seed: int | None,
        deterministic: bool,
        threads: int | None,
        device: str,
        memory_limit_gb: float,
    ) -> None:
        """Set up the process for one training; replaces what an earlier call set.

        Where the framework is not imported yet, all of this is applied when it is.

        Args:
            seed: seed of every random generator, or None to leave them as they are.
            deterministic: bit-exact repeats at the price of speed.
            threads: CPU threads within one operation; None is the framework's own choice.
            device: what `resolve_device` returned.
            memory_limit_gb: GPU memory in GiB that this process may take; 0 sets no limit.

        Raises:
            DeviceError: the device or the limit cannot be had. Where the framework is not
                imported yet, its `import` raises it.
        """
        ...

    def limit_memory(self, module: ModuleType, limit_gb: float, setting: str) -> None:
        """Limit the memory that this process takes of each visible GPU.

        Args:
            module: the main package, imported.
            limit_gb: GiB; 0 for no limit.
            setting: what the person calls the limit.

        Raises:
            DeviceError: it is above the card's memory, or comes too late.
        """
        ...

    def peak_memory_gb(self) -> float | None:
        """Most GPU memory in GiB that its allocator took so far; None if it took none."""
        ...

    def has_used_gpu(self) -> bool:
        """Whether this process has started CUDA, after which no fork can use it."""
        ...

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether this exception of the framework's means that memory ran out."""
        ...


@cache
def frameworks() -> tuple[Framework, ...]:
    """Every registered framework, in the order of the registration."""
    return tuple(map(registered, REGISTERED))


@cache
def registered(name: str) -> Framework:
    """The framework that is registered under a name.

    Raises:
        KeyError: there is none.
    """
    module, _, class_name = REGISTERED[name].partition(":")
    framework: Any = getattr(import_module(module), class_name)()
    found: Framework = framework
    return found
