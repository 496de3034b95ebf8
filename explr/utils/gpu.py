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
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return 0
    try:
        present = int(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError:
        return 0
    finally:
        pynvml.nvmlShutdown()
    return present if visible is None else _let_through(visible, present)


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
