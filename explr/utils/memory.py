"""Decides the limit of GPU memory, and names its origin."""

from __future__ import annotations

import logging
import math
import os
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

from explr.core.errors import DeviceError, UsageError
from explr.core.framework import Framework, frameworks
from explr.core.on_import import apply_on_import
from explr.utils.gpu import gpu_memory
from explr.utils.settings import read_settings, settings_path

log = logging.getLogger("explr")

DEFAULT_MEMORY_GB = 24.0
"""GiB that explr uses by default; leaves a desktop 8 of the 32 GiB of an RTX 5090."""
CARD_SHARE = 0.9
"""Largest part of a smaller card that explr uses."""

LIMIT_VARIABLE = "EXPLR_GPU_MEMORY_GB"
CONFIG_KEY = "gpu.memory_limit_gb"
SETTING = "gpu_memory_gb"
"""Name of the user's own default in the settings file."""

_configured_gb: float | None = None
"""Limit that the configuration sets for the training in this process; None if there is none."""


@dataclass(frozen=True)
class MemoryBudget:
    """Limit of GPU memory for all trainings that run at the same time.

    Args:
        gb: GiB of each GPU; 0 for no limit.
        source: where the limit was set.
    """

    gb: float
    source: str

    def __str__(self) -> str:
        amount = f"{self.gb:g} GiB" if self.gb else "no limit"
        return f"{amount} ({self.source})"


def memory_budget(configured: float | None = None) -> MemoryBudget:
    """The memory budget in force.

    The first of these that is set counts: the configuration, `EXPLR_GPU_MEMORY_GB`, the user's
    default, explr's default (`DEFAULT_MEMORY_GB`, or nine tenths of a smaller card).

    Args:
        configured: GiB that a configuration sets, 0 for no limit; None if it sets none.

    Raises:
        UsageError: a limit is no number or negative.
        DeviceError: a limit is above the memory of every GPU.
    """
    if configured is not None:
        return _checked(configured, CONFIG_KEY, "the configuration")
    text = os.environ.get(LIMIT_VARIABLE, "").strip()
    if text:
        return _checked(text, LIMIT_VARIABLE, "the environment")
    own = read_settings().get(SETTING)
    if own is not None:
        return _checked(own, SETTING, f"your default in {settings_path()}")
    cards = _known_cards()
    smallest = min(cards, default=math.inf) * CARD_SHARE
    if smallest < DEFAULT_MEMORY_GB:
        return MemoryBudget(round(smallest, 2), f"{CARD_SHARE:.0%} of the smallest card")
    return MemoryBudget(DEFAULT_MEMORY_GB, "explr's default")


def check_limit(value: Any, name: str) -> float:
    """Check a limit against the GPUs of this machine, and return it in GiB.

    Args:
        value: the limit.
        name: name of the setting, for messages.

    Raises:
        UsageError: it is not a number, or negative.
        DeviceError: it is above the memory of every GPU.
    """
    try:
        limit_gb = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        limit_gb = math.nan
    if not (math.isfinite(limit_gb) and limit_gb >= 0):
        raise UsageError(
            f"{name} must be a number of GiB, at least 0 (which sets no limit), got {value!r}"
        )
    cards = _known_cards() if limit_gb else []
    if cards and limit_gb > max(cards):
        raise DeviceError(
            f"{name}={limit_gb:g} is more than the {max(cards):.1f} GiB of the largest GPU here: "
            "lower it, or set 0 for no limit"
        )
    return limit_gb


def limit_gpu_memory(max_memory_gb: float | None = None) -> float:
    """Limit the GPU memory of this process, for PyTorch and for TensorFlow.

    A framework that is imported later is limited at its import. PyTorch starts CUDA for this, so
    call it in the training process, not in one that forks. In a training the configuration has
    set a limit already (in a sweep, the trial's share): a lower limit replaces it; a higher one is
    ignored with a warning.

    The limit applies to the framework's allocator on each visible GPU. The CUDA context, about
    half a GiB, comes on top. Other processes are not limited.

    Args:
        max_memory_gb: GiB of each GPU, 0 for no limit. None takes the limit in force: that of the
            training, else `EXPLR_GPU_MEMORY_GB`, the default of `explr memory --limit`, or 24 GiB
            (nine tenths of a smaller card).

    Returns:
        The limit in force, in GiB; 0 for none.

    Raises:
        UsageError: the limit is not a number, or negative.
        DeviceError: it is above the card's memory, or too late: the framework uses more already,
            or has started with another limit. If the framework is not imported yet, its `import`
            raises this.
    """
    if max_memory_gb is None:
        limit_gb = memory_budget().gb if _configured_gb is None else _configured_gb
    else:
        limit_gb = check_limit(max_memory_gb, "max_memory_gb")
    if _configured_gb and (limit_gb == 0 or limit_gb > _configured_gb):
        wanted = f"{limit_gb:g} GiB" if limit_gb else "no limit"
        log.warning(
            "the GPU memory limit stays at %g GiB, which the configuration sets for this training: "
            "%s was asked for",
            _configured_gb,
            wanted,
        )
        limit_gb = _configured_gb
    apply_on_import(
        "gpu memory",
        {
            framework.packages[0]: partial(_limit, framework, limit_gb)
            for framework in frameworks()
            if framework.packages
        },
    )
    return limit_gb


def set_configured_limit(limit_gb: float) -> None:
    """Set the upper bound of later calls of `limit_gpu_memory` in this process.

    Args:
        limit_gb: GiB that the configuration of the training sets; 0 for no limit.
    """
    global _configured_gb
    _configured_gb = limit_gb
    apply_on_import("gpu memory", {})


def _checked(value: Any, name: str, source: str) -> MemoryBudget:
    return MemoryBudget(check_limit(value, name), f"{name}, {source}")


def _known_cards() -> list[float]:
    """Memory of each GPU in GiB, if the driver reports it."""
    return [memory.total_gb for memory in gpu_memory() if memory is not None]


def _limit(framework: Framework, limit_gb: float, package: ModuleType) -> None:
    framework.limit_memory(package, limit_gb, "max_memory_gb")
