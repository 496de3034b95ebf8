"""Load and memory of the machine and its GPUs, under MLflow's names."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from explr.core.framework import frameworks
from explr.utils.host import family
from explr.utils.nvml import GIB, nvml_session

T = TypeVar("T")

MEGABYTE = 1e6
"""MLflow's megabyte, in bytes."""


@dataclass
class Machine:
    """Measures the machine, and one process with its descendants.

    Args:
        pid: the process.
    """

    pid: int
    _network: tuple[int, int] = field(default=(0, 0), init=False)

    def __post_init__(self) -> None:
        import psutil

        psutil.cpu_percent()  # the first call returns 0
        self._network = _network()

    def look(self) -> dict[str, float]:
        """Readings under the names of MLflow's system metrics."""
        import psutil

        memory, disk = psutil.virtual_memory(), psutil.disk_usage(os.sep)
        received, sent = _network()
        found = {
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "system_memory_usage_megabytes": memory.used / MEGABYTE,
            "system_memory_usage_percentage": memory.used / memory.total * 100,
            "process_memory_usage_megabytes": _resident(self.pid) / MEGABYTE,
            "disk_usage_percentage": disk.percent,
            "disk_usage_megabytes": disk.used / MEGABYTE,
            "disk_available_megabytes": disk.free / MEGABYTE,
            "network_receive_megabytes": (received - self._network[0]) / MEGABYTE,
            "network_transmit_megabytes": (sent - self._network[1]) / MEGABYTE,
            **gpu_readings(),
        }
        return {f"system/{name}": round(value, 1) for name, value in found.items()}


def peak_memory(of_children: bool = False) -> dict[str, float]:
    """Peak memory of this process so far, on the host and on its GPU.

    Args:
        of_children: that of the largest process that it has started, which has ended.
    """
    whose = resource.RUSAGE_CHILDREN if of_children else resource.RUSAGE_SELF
    kilobytes = resource.getrusage(whose).ru_maxrss
    found = {"system/peak_memory_megabytes": kilobytes * 1024 / MEGABYTE}
    if (gpu_gb := gpu_peak_memory_gb()) is not None:
        found["system/gpu_peak_memory_megabytes"] = gpu_gb * GIB / MEGABYTE
    return {name: round(value, 1) for name, value in found.items()}


def gpu_peak_memory_gb() -> float | None:
    """Peak GPU memory of the framework in this process, in GiB; None if it used none."""
    peaks = (framework.peak_memory_gb() for framework in frameworks())
    return next((gb for gb in peaks if gb is not None), None)


def gpu_tags() -> dict[str, str]:
    """Names of the GPUs and the version of their driver; empty without GPUs."""

    def read(nvml: Any, handles: list[Any]) -> dict[str, str]:
        names = ", ".join(str(nvml.nvmlDeviceGetName(handle)) for handle in handles)
        return {"explr.gpu": names, "explr.driver": str(nvml.nvmlSystemGetDriverVersion())}

    return _with_gpus(read) or {}


def gpu_readings() -> dict[str, float]:
    """Load, memory and power of each GPU; empty without GPUs."""

    def read(nvml: Any, handles: list[Any]) -> dict[str, float]:
        found: dict[str, float] = {}
        for index, handle in enumerate(handles):
            for measure in (_gpu_memory, _gpu_load, _gpu_power):
                try:
                    values = measure(nvml, handle)
                except nvml.NVMLError:
                    continue  # not every card supports every reading
                found |= {f"gpu_{index}_{name}": value for name, value in values.items()}
        return found

    return _with_gpus(read) or {}


def _gpu_memory(nvml: Any, handle: Any) -> dict[str, float]:
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    return {
        "memory_usage_percentage": memory.used / memory.total * 100,
        "memory_usage_megabytes": memory.used / MEGABYTE,
    }


def _gpu_load(nvml: Any, handle: Any) -> dict[str, float]:
    return {"utilization_percentage": float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)}


def _gpu_power(nvml: Any, handle: Any) -> dict[str, float]:
    milliwatts = nvml.nvmlDeviceGetPowerUsage(handle)
    limit = nvml.nvmlDeviceGetEnforcedPowerLimit(handle)
    return {
        "power_usage_watts": milliwatts / 1000,
        "power_usage_percentage": milliwatts / limit * 100,
    }


def _with_gpus(read: Callable[[Any, list[Any]], T]) -> T | None:
    """Call `read` with NVML and the handles of all GPUs; None without GPUs."""
    with nvml_session() as nvml:
        if nvml is None:
            return None
        try:
            count = nvml.nvmlDeviceGetCount()
            handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
            return read(nvml, handles) if handles else None
        except nvml.NVMLError:
            return None


def _network() -> tuple[int, int]:
    import psutil

    counters = psutil.net_io_counters()
    return (counters.bytes_recv, counters.bytes_sent) if counters else (0, 0)


def _resident(pid: int) -> int:
    """Resident bytes of a process and its descendants."""
    import psutil

    total = 0
    for member in family(pid):
        try:
            total += psutil.Process(member).memory_info().rss
        except psutil.Error:
            continue  # it has exited
    return total
