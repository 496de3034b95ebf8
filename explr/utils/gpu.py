"""What NVML knows of the GPUs, without a deep-learning framework."""

from __future__ import annotations

import os
from typing import NamedTuple

from explr.utils.nvml_session import nvml_session
from explr.utils.units import GIB


class GpuMemory(NamedTuple):
    """The memory of a GPU in GiB.

    Args:
        used_gb: what is taken, by whomever.
        total_gb: all of it.
    """

    used_gb: float
    total_gb: float


def nvidia_gpu_count() -> int:
    """How many NVIDIA GPUs this process may use.

    Returns:
        The number that the driver has and `CUDA_VISIBLE_DEVICES` lets through; 0 without a
        driver, or with one that cannot be used.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in {"", "-1"}:
        return 0
    present = len(gpu_memory())
    return present if visible is None else _let_through(visible, present)


def gpu_memory() -> list[GpuMemory | None]:
    """Memory of each GPU, by the driver, None where it does not say; empty without one."""
    with nvml_session() as nvml:
        if nvml is None:
            return []

        def of(index: int) -> GpuMemory | None:
            try:
                device = nvml.nvmlDeviceGetHandleByIndex(index)
                memory = nvml.nvmlDeviceGetMemoryInfo(device)
                return GpuMemory(memory.used / GIB, memory.total / GIB)
            except nvml.NVMLError:
                return None

        try:
            return [of(index) for index in range(nvml.nvmlDeviceGetCount())]
        except nvml.NVMLError:
            return []


def _let_through(visible: str, present: int) -> int:
    """Entries of `CUDA_VISIBLE_DEVICES` up to the first one that is no GPU.

    That CUDA ignores the rest of the list is in its programming guide, under "CUDA Environment
    Variables".
    """
    count = 0
    for entry in visible.split(","):
        name = entry.strip()
        is_uuid = name.startswith(("GPU-", "MIG-"))
        if not is_uuid and not (name.isdecimal() and int(name) < present):
            break
        count += 1
    return count
