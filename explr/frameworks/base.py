"""What explr needs of a deep-learning framework, and where each one is found."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Protocol, cast

from explr.config.importing import missing_dependency
from explr.core.checkpoint import Serializer
from explr.core.errors import ConfigError

_HOMES = {
    "pytorch": "explr.frameworks.pytorch:PyTorch",
    "tensorflow": "explr.frameworks.tensorflow:TensorFlow",
}


class Framework(Protocol):
    """A deep-learning framework. None of this imports it before the training does, unless said.

    Args:
        name: how the configuration names it.
        package: the package that holds it.
        serializer: how it writes checkpoints.
    """

    name: str
    package: str
    serializer: Serializer

    def resolve_device(self, requested: str) -> str:
        """Find out which device a training gets.

        The framework is imported only if a GPU is asked for, or is there for `auto`.

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


def get_framework(name: str) -> Framework:
    """The framework that the configuration names, without importing it.

    Args:
        name: `pytorch` or `tensorflow`.

    Raises:
        ConfigError: there is no framework of this name.
        MissingDependencyError: its package is not installed; names the extra that brings it.
    """
    if name not in _HOMES:
        raise ConfigError([f"framework.name must be {' or '.join(_HOMES)}, got {name!r}"])
    module, _, class_name = _HOMES[name].partition(":")
    framework = cast(Framework, getattr(importlib.import_module(module), class_name)())
    if importlib.util.find_spec(framework.package) is None:
        raise missing_dependency(framework.package)
    return framework
