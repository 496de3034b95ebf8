"""The GPUs as CUDA counts them, and their memory, without a deep-learning framework."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from explr.utils.nvml import GIB, Gpu, has_driver, nvml_session, opened_nvml, read_driver


class GpuMemory(NamedTuple):
    """The memory of a GPU in GiB.

    Args:
        used_gb: GiB that all processes use.
        total_gb: GiB of the GPU.
    """

    used_gb: float
    total_gb: float


def nvidia_gpu_count() -> int:
    """Number of NVIDIA GPUs that this process may use.

    Returns:
        The number of GPUs that `CUDA_VISIBLE_DEVICES` allows; 0 without a working driver.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in {"", "-1"}:
        return 0
    present = len(gpu_memory())
    return present if visible is None else _let_through(visible, present)


def gpu_memory() -> list[GpuMemory | None]:
    """Memory of each GPU, None if it is unknown; empty without a driver."""
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


def visible_gpus(
    gpus: Sequence[Gpu] | None = None, environ: Mapping[str, str] = os.environ
) -> list[Gpu]:
    """The GPUs that this process may use, in the order in which CUDA numbers them.

    The driver numbers GPUs by their place on the bus. CUDA puts the fastest first, unless
    `CUDA_DEVICE_ORDER` is `PCI_BUS_ID`, and of a GPU with MIG instances it uses one.

    Args:
        gpus: all GPUs of the machine, in the driver's order; None asks the driver.
        environ: variables; `CUDA_VISIBLE_DEVICES` and `CUDA_DEVICE_ORDER` count.

    Returns:
        Number N is what CUDA calls `cuda:N`. One that the driver does not know has no values.
    """
    if gpus is None:
        gpus = read_driver().gpus if has_driver() else ()
    ordered = list(gpus)
    if environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID" and all(map(_speed, gpus)):
        ordered.sort(key=_speed, reverse=True)
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [_usable(gpu) for gpu in ordered]
    found: list[Gpu] = []
    for name in visible.split(",")[: _let_through(visible, len(ordered))]:
        found.append(_named(name.strip(), ordered))
    return found


def _speed(gpu: Gpu) -> int:
    return (gpu.cores or 0) * (gpu.clock_mhz or 0)


def _usable(gpu: Gpu) -> Gpu:
    return gpu.instances[0] if gpu.instances else gpu


def _named(name: str, ordered: Sequence[Gpu]) -> Gpu:
    """The GPU that an entry of `CUDA_VISIBLE_DEVICES` names, also by the begin of its UUID."""
    if name.isdecimal():
        return _usable(ordered[int(name)])
    for gpu in ordered:
        for part in (gpu, *gpu.instances):
            if part.uuid is not None and part.uuid.startswith(name):
                return _usable(part)
        if gpu.uuid is not None and name.startswith(f"MIG-{gpu.uuid}/"):  # of older drivers
            return _usable(gpu)
    return Gpu(-1, uuid=name)


def _let_through(visible: str, present: int) -> int:
    """Number of entries of `CUDA_VISIBLE_DEVICES` up to the first that names no GPU.

    CUDA ignores the rest of the list (programming guide, "CUDA Environment Variables").
    """
    count = 0
    for entry in visible.split(","):
        name = entry.strip()
        is_uuid = name.startswith(("GPU-", "MIG-"))
        if not is_uuid and not (name.isdecimal() and int(name) < present):
            break
        count += 1
    return count


FIRST_NAMESPACE = 0xEFFFFFFC
"""Inode of the host's pid namespace: PROC_PID_INIT_INO in the kernel's sources."""


class HeldGpuMemory:
    """Measures the GPU memory of processes; keeps NVML open until it is closed.

    The driver names processes by their pids on the host, which differ from those in a container.
    There, the growth of the memory in use on the whole GPU is measured instead.

    Args:
        devices: the GPUs, as `CUDA_VISIBLE_DEVICES` names them.
        own_numbers: whether pids here are those of the host; None finds out.
    """

    def __init__(self, devices: Sequence[str], own_numbers: bool | None = None) -> None:
        self._session = ExitStack()
        self._nvml = self._session.enter_context(opened_nvml())
        self._own_numbers = _is_on_the_host() if own_numbers is None else own_numbers
        self._handles = {device: self._ask(self._handle, device) for device in devices}
        self._before = {device: self._used_gb(device) for device in devices}

    def free_gb(self, device: str) -> float | None:
        """Free GiB of a GPU; None if unknown."""
        memory = self._ask(self._nvml.nvmlDeviceGetMemoryInfo, self._handles[device])
        return None if memory is None else float(memory.free / GIB)

    def held_gb(self, device: str, processes: Collection[int], alone: bool) -> float | None:
        """GiB of a GPU that processes use together; None if unknown.

        Args:
            device: the GPU.
            processes: their pids.
            alone: whether only these processes have started to use the GPU since this object
                was made.
        """
        handle = self._handles[device]
        if self._own_numbers:
            users = self._ask(self._nvml.nvmlDeviceGetComputeRunningProcesses, handle)
            if users is not None:
                held = [user.usedGpuMemory for user in users if user.pid in processes]
                if None not in held:
                    return float(sum(held) / GIB)
        now, before = self._used_gb(device), self._before[device]
        if not alone or now is None or before is None:
            return None
        return max(0.0, now - before)

    def close(self) -> None:
        """Close NVML."""
        self._session.close()

    def _handle(self, device: str) -> Any:
        (gpu,) = visible_gpus(environ={**os.environ, "CUDA_VISIBLE_DEVICES": device})
        if gpu.uuid is not None:
            return self._nvml.nvmlDeviceGetHandleByUUID(gpu.uuid)
        return self._nvml.nvmlDeviceGetHandleByIndex(gpu.index)

    def _used_gb(self, device: str) -> float | None:
        memory = self._ask(self._nvml.nvmlDeviceGetMemoryInfo, self._handles[device])
        return None if memory is None else float(memory.used / GIB)

    def _ask(self, question: Callable[[Any], Any], subject: Any) -> Any:
        """The driver's answer; None if it has none."""
        if subject is None:
            return None
        try:
            return question(subject)
        except self._nvml.NVMLError:
            return None


def _is_on_the_host() -> bool:
    try:
        return os.stat("/proc/self/ns/pid").st_ino == FIRST_NAMESPACE
    except OSError:
        return False
