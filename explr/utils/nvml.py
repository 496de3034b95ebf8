"""The NVIDIA driver and its GPUs, read from NVML.

A field that a card does not support is None, and shown as unknown.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

GIB = 2**30
"""Bytes in a GiB."""


LIBRARY = "libnvidia-ml.so.1"


@contextmanager
def opened_nvml() -> Iterator[Any]:
    """The module `pynvml`, initialised.

    Raises:
        pynvml.NVMLError: there is no working driver.
    """
    import pynvml

    pynvml.nvmlInit()
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


@contextmanager
def nvml_session() -> Iterator[Any]:
    """The module `pynvml`, initialised; None without a working driver."""
    if not has_driver():
        yield None
        return
    import pynvml

    nvml = None
    with ExitStack() as session:
        with suppress(pynvml.NVMLError):
            nvml = session.enter_context(opened_nvml())
        yield nvml


def has_driver() -> bool:
    """Whether the driver's library exists; a quick check before the slow import of `pynvml`."""
    if sys.platform != "linux":
        return True
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return False
    return True


T = TypeVar("T")


@dataclass(frozen=True)
class GpuProcess:
    """A process that uses a GPU.

    Args:
        pid: its pid on the host, which differs from the pid in a container.
        name: name of its program, None if unknown.
        memory_gb: GiB of the GPU that it uses, None if unknown.
    """

    pid: int
    name: str | None
    memory_gb: float | None


@dataclass(frozen=True)
class Gpu:
    """A GPU; None stands for what is unknown.

    Args:
        index: its index in the driver.
        name: product name.
        uuid: permanent id, also valid in `CUDA_VISIBLE_DEVICES`.
        memory_total_gb: memory in GiB.
        memory_used_gb: GiB that all processes use.
        memory_free_gb: free GiB.
        utilization_percent: percent of the last moment in which it was busy.
        temperature_c: degrees Celsius.
        power_w: watts.
        power_limit_w: limit of the power in watts.
        compute_capability: major and minor number, such as (12, 0).
        cores: number of its CUDA cores.
        clock_mhz: highest clock of the cores in MHz.
        mig: whether it is divided into MIG instances.
        instances: these, each with its name, UUID and memory.
        processes: processes that use it, None if unknown.
    """

    index: int
    name: str | None = None
    uuid: str | None = None
    memory_total_gb: float | None = None
    memory_used_gb: float | None = None
    memory_free_gb: float | None = None
    utilization_percent: int | None = None
    temperature_c: int | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    compute_capability: tuple[int, int] | None = None
    cores: int | None = None
    clock_mhz: int | None = None
    mig: bool | None = None
    instances: tuple[Gpu, ...] = ()
    processes: tuple[GpuProcess, ...] | None = None

    @property
    def architecture(self) -> str | None:
        """Its compute capability as compilers write it, such as sm_120."""
        if self.compute_capability is None:
            return None
        return "sm_{}{}".format(*self.compute_capability)


@dataclass(frozen=True)
class Driver:
    """The NVIDIA driver.

    Args:
        fault: NVML's error if it does not work; None if it does.
        missing: whether there is no driver.
        mismatched: whether its library and its kernel module have different versions.
        version: its version, such as 570.195.03.
        cuda: the newest CUDA version that it supports, such as (12, 8).
        gpus: its GPUs.
    """

    fault: str | None = None
    missing: bool = False
    mismatched: bool = False
    version: str | None = None
    cuda: tuple[int, int] | None = None
    gpus: tuple[Gpu, ...] = field(default=())

    @property
    def state(self) -> str:
        """Its state as a sentence without a full stop."""
        if self.missing:
            return "there is no NVIDIA driver on this machine"
        if self.mismatched:
            return "the NVIDIA driver was updated and the machine has not been rebooted since"
        if self.fault is not None:
            return f"the NVIDIA driver cannot be used: {self.fault}"
        cuda = "unknown" if self.cuda is None else "{}.{}".format(*self.cuda)
        return f"NVIDIA driver {self.version or 'unknown'}, CUDA {cuda}"


def read_driver() -> Driver:
    """Read the driver and its GPUs from NVML; does not raise without a driver."""
    import pynvml

    try:
        with opened_nvml() as nvml:
            ask = _Asker(nvml.NVMLError)
            cuda = ask(lambda: int(nvml.nvmlSystemGetCudaDriverVersion()))
            return Driver(
                version=ask(lambda: str(nvml.nvmlSystemGetDriverVersion())),
                cuda=None if cuda is None else (cuda // 1000, cuda % 1000 // 10),
                gpus=tuple(_read_gpu(nvml, ask, i) for i in range(nvml.nvmlDeviceGetCount())),
            )
    except pynvml.NVMLError as error:
        return Driver(
            fault=str(error),
            missing=isinstance(error, pynvml.NVMLError_LibraryNotFound),
            mismatched=isinstance(error, pynvml.NVMLError_LibRmVersionMismatch),
        )


@dataclass(frozen=True)
class _Asker:
    """Calls NVML once per value, so that an unsupported value does not hide the others."""

    error: type[Exception]

    def __call__(self, question: Callable[[], T]) -> T | None:
        try:
            return question()
        except self.error:
            return None


def _read_gpu(nvml: Any, ask: _Asker, index: int) -> Gpu:
    handle = ask(lambda: nvml.nvmlDeviceGetHandleByIndex(index))
    if handle is None:
        return Gpu(index)
    memory = ask(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    mig = ask(lambda: bool(nvml.nvmlDeviceGetMigMode(handle)[0]))
    capability = ask(lambda: nvml.nvmlDeviceGetCudaComputeCapability(handle))
    return Gpu(
        index=index,
        name=ask(lambda: str(nvml.nvmlDeviceGetName(handle))),
        uuid=ask(lambda: str(nvml.nvmlDeviceGetUUID(handle))),
        memory_total_gb=None if memory is None else memory.total / GIB,
        memory_used_gb=None if memory is None else memory.used / GIB,
        memory_free_gb=None if memory is None else memory.free / GIB,
        utilization_percent=ask(lambda: int(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)),
        temperature_c=ask(
            lambda: int(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
        ),
        power_w=ask(lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000),
        power_limit_w=ask(lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000),
        compute_capability=None if capability is None else (capability[0], capability[1]),
        cores=ask(lambda: int(nvml.nvmlDeviceGetNumGpuCores(handle))),
        clock_mhz=ask(lambda: int(nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM))),
        mig=mig,
        instances=_instances(nvml, ask, handle, index) if mig else (),
        processes=_processes(nvml, ask, handle),
    )


def _instances(nvml: Any, ask: _Asker, handle: Any, index: int) -> tuple[Gpu, ...]:
    found = []
    for number in range(ask(lambda: int(nvml.nvmlDeviceGetMaxMigDeviceCount(handle))) or 0):
        part = ask(partial(nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, number))
        if part is None:
            continue  # not in use
        memory = ask(partial(nvml.nvmlDeviceGetMemoryInfo, part))
        found.append(
            Gpu(
                index,
                name=ask(partial(nvml.nvmlDeviceGetName, part)),
                uuid=ask(partial(nvml.nvmlDeviceGetUUID, part)),
                memory_total_gb=None if memory is None else memory.total / GIB,
                memory_free_gb=None if memory is None else memory.free / GIB,
            )
        )
    return tuple(found)


def _processes(nvml: Any, ask: _Asker, handle: Any) -> tuple[GpuProcess, ...] | None:
    computing = ask(lambda: nvml.nvmlDeviceGetComputeRunningProcesses(handle))
    drawing = ask(lambda: nvml.nvmlDeviceGetGraphicsRunningProcesses(handle))
    if computing is None and drawing is None:
        return None
    found = {each.pid: each.usedGpuMemory for each in [*(drawing or ()), *(computing or ())]}
    return tuple(
        GpuProcess(pid, _name_of(pid), None if used is None else used / GIB)
        for pid, used in sorted(found.items())
    )


def _name_of(pid: int) -> str | None:
    import psutil

    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return None
