"""What NVML knows of the GPUs, without a deep-learning framework."""

from __future__ import annotations

import os


def nvidia_gpu_count() -> int:
    """How many NVIDIA GPUs this process may use.

    Returns:
        The number that the driver has and `CUDA_VISIBLE_DEVICES` lets through; 0 without a
        driver, or with one that cannot be used.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in {"", "-1"}:
        return 0
    present = len(gpu_memory_gb())
    return present if visible is None else _let_through(visible, present)


def gpu_memory_gb() -> list[float | None]:
    """Memory of each GPU in GiB, by the driver, None where it does not say; empty without one."""
    import pynvml

    def of(index: int) -> float | None:
        try:
            device = pynvml.nvmlDeviceGetHandleByIndex(index)
            return float(pynvml.nvmlDeviceGetMemoryInfo(device).total / 2**30)
        except pynvml.NVMLError:
            return None

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        return [of(index) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return []
    finally:
        pynvml.nvmlShutdown()


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
