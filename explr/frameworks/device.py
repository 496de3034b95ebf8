"""Resolves the requested device to an available one."""

from __future__ import annotations

import logging
from collections.abc import Callable

from explr.core.errors import DeviceError
from explr.utils.gpu import nvidia_gpu_count

logger = logging.getLogger(__name__)


def choose_device(requested: str, package: str, usable_gpus: Callable[[], int]) -> str:
    """Find out which device a training gets.

    Args:
        requested: `auto`, `cpu`, `cuda` or `cuda:N`.
        package: the framework's package, for messages.
        usable_gpus: asks the framework how many GPUs it can use; may import it.

    Returns:
        `cpu`, `cuda` or `cuda:N`.

    Raises:
        DeviceError: the device is not there; says which are.
    """
    if requested == "cpu":
        return requested
    if requested == "auto":
        if nvidia_gpu_count() == 0:
            return "cpu"
        if usable_gpus() > 0:
            return "cuda"
        logger.warning(
            "training on the CPU: an NVIDIA GPU is there, but the installed %s cannot use it",
            package,
        )
        return "cpu"
    gpus = usable_gpus()
    index = cuda_index(requested)
    if requested.startswith("cuda") and (index or 0) < gpus:
        return requested if index is None else f"cuda:{index}"
    raise device_missing(requested, package, gpus)


def cuda_index(device: str) -> int | None:
    """N of `cuda:N`; None for a device without a number."""
    number = device.partition(":")[2]
    return int(number) if number else None


def device_missing(requested: str, package: str, gpus: int) -> DeviceError:
    """The error for a device that is not there.

    Args:
        requested: the requested device.
        package: the framework's package.
        gpus: number of GPUs that it can use.
    """
    there = ", ".join(["cpu", *(f"cuda:{index}" for index in range(gpus))])
    if gpus == 0 and nvidia_gpu_count() > 0:
        return DeviceError(
            f"gpu.device={requested} cannot be used: an NVIDIA GPU is there, but the installed "
            f"{package} cannot use it; it has {there}"
        )
    return DeviceError(f"gpu.device={requested} is not on this machine: it has {there}")
