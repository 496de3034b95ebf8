"""The driver, the GPUs and their memory as `explr verify` looks at them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from explr.core.errors import UsageError
from explr.utils.gpu import visible_gpus
from explr.utils.memory import CONFIG_KEY, memory_budget
from explr.utils.nvml import Driver
from explr.utils.verify.check import Check, failed, passed, warned

NVML, MATCH, BUDGET, TRIALS, BINDING = (
    "NVIDIA driver",
    "driver and its library",
    "memory budget",
    "trials at once",
    "NVML's binding",
)

SMALL_SHARE_GB = 1.0
"""GiB below which a trial's part of a GPU is hardly enough for anything."""

PCI = Path("/sys/bus/pci/devices")
_NVIDIA, _DISPLAY = "0x10de", "0x03"


def driver_checks(driver: Driver, pci: Path = PCI) -> list[Check]:
    """Whether NVML loads, and driver and library are of one version.

    Args:
        driver: what NVML reports.
        pci: where the kernel lists the devices of the PCI bus.
    """
    if driver.missing:
        seen = "there is no driver"
        if _card_on_bus(pci):
            remedy = "Install the driver; in a container, give it the GPU (--gpus all)."
            return [warned(NVML, f"{seen}, and an NVIDIA card is on the bus", remedy)]
        return [
            passed(NVML, f"{seen}, and no NVIDIA card: trainings run on the CPU"),
            passed(MATCH, "there is nothing to match"),
        ]
    if driver.mismatched:
        remedy = "Reboot, or reload the NVIDIA kernel modules."
        return [passed(NVML, "its library loads"), failed(MATCH, driver.state, remedy)]
    if driver.fault is not None:
        return [failed(NVML, driver.fault, "Look at `nvidia-smi` and the kernel's log.")]
    names = ", ".join(gpu.name or "a GPU" for gpu in driver.gpus) or "no GPU"
    return [passed(NVML, f"{driver.state}: {names}"), passed(MATCH, "they are of one version")]


def budget_checks(driver: Driver, configured: float | None, device: str = "auto") -> list[Check]:
    """The memory budget against what the GPU that would be trained on has and what is free.

    Args:
        driver: what NVML reports.
        configured: GiB that the configuration sets; None leaves it open.
        device: what the configuration says to train on.
    """
    gpus = visible_gpus(driver.gpus)
    number = int(device.partition(":")[2] or 0)
    try:
        budget = memory_budget(configured, f"cuda:{number}", gpus)
    except UsageError as error:
        return [failed(BUDGET, str(error), f"Set another {CONFIG_KEY}, or see `explr memory`.")]
    if not gpus:
        return [passed(BUDGET, f"{budget}, and there is no GPU")]
    if device == "cpu" or number >= len(gpus):
        return [passed(BUDGET, str(budget))]
    total_gb, free_gb = gpus[number].memory_total_gb, gpus[number].memory_free_gb
    if total_gb is not None and budget.gb > total_gb:
        return [
            failed(
                BUDGET,
                f"{budget}, and cuda:{number} has {total_gb:.1f} GiB",
                f"Lower {CONFIG_KEY}, or choose the other GPU with gpu.device.",
            )
        ]
    if total_gb is not None and free_gb is not None and budget.gb > free_gb:
        seen = f"{budget}, and cuda:{number} has {free_gb:.1f} of {total_gb:.1f} GiB free"
        remedy = f"End what uses it (`explr memory` shows it), or lower {CONFIG_KEY}."
        return [warned(BUDGET, seen, remedy)]
    return [passed(BUDGET, str(budget))]


def share_check(trials: int, shares_gb: Sequence[float], context_gb: float, gpus: int) -> Check:
    """Trials at once against the budget that they share.

    Args:
        trials: how many run at once.
        shares_gb: GiB that each may take; 0 for no limit.
        context_gb: GiB that the CUDA context of each takes beside it.
        gpus: GPUs that they are spread over.
    """
    if gpus == 0:
        return passed(TRIALS, f"{trials} on the CPU")
    least = min(shares_gb)
    crowded = trials > gpus
    if least == 0 and crowded:
        return warned(
            TRIALS,
            f"{trials} on {gpus} GPU(s), without a limit: the first takes what the next needs",
            f"Set {CONFIG_KEY}.",
        )
    beside = f" and {context_gb:g} for its CUDA context" if crowded else ""
    seen = f"{trials} on {gpus} GPU(s), each with {least:.1f} GiB{beside}" if least else str(trials)
    remedy = f"Lower tuner.n_jobs, or raise {CONFIG_KEY}."
    if least and crowded and least <= 0.1:
        return failed(TRIALS, seen, remedy)
    if least and least < SMALL_SHARE_GB:
        return warned(TRIALS, seen, remedy)
    return passed(TRIALS, seen)


def binding_check() -> Check:
    """Whether an old package stands in the way of NVML's own binding."""
    try:
        other = version("pynvml")
    except PackageNotFoundError:
        return passed(BINDING, f"nvidia-ml-py {version('nvidia-ml-py')}")
    return warned(
        BINDING,
        f"pynvml {other} is installed beside nvidia-ml-py, and may overwrite its module",
        "Run pip uninstall pynvml, then pip install --force-reinstall nvidia-ml-py.",
    )


def _card_on_bus(pci: Path) -> bool:
    """Whether the kernel lists an NVIDIA display device."""
    for device in pci.glob("*"):
        try:
            vendor, kind = (device / "vendor").read_text(), (device / "class").read_text()
        except OSError:
            continue  # it was taken out, or hides
        if vendor.strip() == _NVIDIA and kind.startswith(_DISPLAY):
            return True
    return False
