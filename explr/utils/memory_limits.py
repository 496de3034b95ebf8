"""The GPU memory limit of a process, in each framework's own way and at its right moment."""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any

from explr.core.errors import DeviceError
from explr.utils.nvml import GIB


def limit_torch(torch: ModuleType, index: int, limit_gb: float, setting: str) -> None:
    """Limit PyTorch's allocator on one GPU; starts CUDA.

    Args:
        torch: the package.
        index: number of the GPU, as PyTorch counts.
        limit_gb: GiB; 0 for no limit.
        setting: what the person calls the limit.

    Raises:
        DeviceError: it is above the card's memory, or below what is taken already.
    """
    if limit_gb == 0:
        torch.cuda.set_per_process_memory_fraction(1.0, index)
        return
    total_gb = torch.cuda.get_device_properties(index).total_memory / GIB
    if limit_gb > total_gb:
        raise DeviceError(
            f"{setting}={limit_gb:g} is more than the {total_gb:.1f} GiB of "
            f"cuda:{index}: lower it, or set no limit with {setting}=0"
        )
    if torch.cuda.memory_reserved(index) > limit_gb * GIB:
        torch.cuda.empty_cache()  # what is only kept for reuse
    taken_gb = torch.cuda.memory_reserved(index) / GIB
    if taken_gb > limit_gb:
        raise DeviceError(
            f"{setting}={limit_gb:g} comes too late, because PyTorch has taken {taken_gb:.1f} GiB "
            f"of cuda:{index} in this process (pid {os.getpid()}) already: set it before the "
            "first tensor is put there"
        )
    torch.cuda.set_per_process_memory_fraction(limit_gb / total_gb, index)


def limit_tensorflow(config: Any, gpu: Any, limit_gb: float, setting: str) -> None:
    """Limit TensorFlow's memory of one GPU, or let it grow with the need where there is no limit.

    Args:
        config: `tensorflow.config`.
        gpu: the physical device.
        limit_gb: GiB; 0 for no limit.
        setting: what the person calls the limit.

    Raises:
        DeviceError: TensorFlow has started with another setting.
    """
    try:
        if limit_gb == 0:
            config.experimental.set_memory_growth(gpu, True)
            return
        if config.experimental.get_memory_growth(gpu):  # the two exclude each other
            config.experimental.set_memory_growth(gpu, False)
        limit = config.LogicalDeviceConfiguration(memory_limit=max(1, round(limit_gb * 1024)))
        config.set_logical_device_configuration(gpu, [limit])
    except (RuntimeError, ValueError):  # ValueError: growth after a limit
        raise tensorflow_started(f"{setting}={limit_gb:g}") from None


def tensorflow_started(setting: str) -> DeviceError:
    """The error for a setting that TensorFlow takes only before its first operation."""
    return DeviceError(
        f"{setting} cannot be set, because TensorFlow has already started with another setting "
        f"in this process (pid {os.getpid()}): train in a fresh one"
    )
