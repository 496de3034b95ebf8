"""Decides the limit of GPU memory, and names its origin."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType
from typing import Any

from explr.core.errors import DeviceError, UsageError
from explr.core.framework import Framework, frameworks
from explr.core.on_import import apply_on_import
from explr.utils.gpu import visible_gpus
from explr.utils.nvml import Gpu
from explr.utils.settings import read_settings, settings_path

log = logging.getLogger("explr")

DEFAULT_MEMORY_GB = 24.0
"""GiB that explr uses by default; leaves a desktop 8 of the 32 GiB of an RTX 5090."""
DEFAULT = "explr's default"
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


def memory_budget(
    configured: float | None = None, device: str = "cuda", gpus: Sequence[Gpu] | None = None
) -> MemoryBudget:
    """The memory budget in force on a GPU.

    The first of these that is set counts: the configuration, `EXPLR_GPU_MEMORY_GB`, the user's
    default, explr's default (`DEFAULT_MEMORY_GB`, or nine tenths of a smaller card).

    Args:
        configured: GiB that a configuration sets, 0 for no limit; None if it sets none.
        device: the GPU that is trained on, in PyTorch's spelling: `cuda` or `cuda:N`.
        gpus: the GPUs that may be used, in CUDA's order; None finds them out.

    Raises:
        UsageError: a limit is no number or negative.
        DeviceError: a limit is above the memory of every GPU that may be used.
    """
    if gpus is None:
        gpus = visible_gpus()
    if configured is not None:
        return _checked(configured, CONFIG_KEY, "the configuration", gpus)
    text = os.environ.get(LIMIT_VARIABLE, "").strip()
    if text:
        return _checked(text, LIMIT_VARIABLE, "the environment", gpus)
    own = read_settings().get(SETTING)
    if own is not None:
        return _checked(own, SETTING, f"your default in {settings_path()}", gpus)
    number = int(device.partition(":")[2] or 0)
    card = gpus[number] if number < len(gpus) else None
    if card is None or card.memory_total_gb is None:
        return MemoryBudget(DEFAULT_MEMORY_GB, DEFAULT)
    share_gb = round(card.memory_total_gb * CARD_SHARE, 2)
    if share_gb >= DEFAULT_MEMORY_GB:
        return MemoryBudget(DEFAULT_MEMORY_GB, DEFAULT)
    which = f"cuda:{number}, {card.name}" if card.name else f"cuda:{number}"
    return MemoryBudget(share_gb, f"{CARD_SHARE:.0%} of {which}")


def card_budgets(configured: float | None = None) -> list[MemoryBudget]:
    """The memory budget of each GPU that may be used, in CUDA's order; see `memory_budget`.

    A limit above a card's memory, which another card has, counts there as nine tenths of it.
    """
    gpus = visible_gpus()
    budgets = [memory_budget(configured, f"cuda:{number}", gpus) for number in range(len(gpus))]
    return [
        replace(budget, gb=within_card(budget.gb, gpu.memory_total_gb))
        for budget, gpu in zip(budgets, gpus, strict=True)
    ]


def within_card(limit_gb: float, total_gb: float | None) -> float:
    """A limit in GiB; nine tenths of a card that has less than that, in all."""
    if total_gb is None or limit_gb <= total_gb:
        return limit_gb
    return round(total_gb * CARD_SHARE, 2)


def check_limit(value: Any, name: str, gpus: Sequence[Gpu] | None = None) -> float:
    """Check a limit against the GPUs that may be used, and return it in GiB.

    Args:
        value: the limit.
        name: name of the setting, for messages.
        gpus: the GPUs; None finds them out.

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
    gpus = visible_gpus() if gpus is None else gpus
    cards = [gpu.memory_total_gb for gpu in gpus if gpu.memory_total_gb is not None]
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

    The limit applies to the framework's allocator on each visible GPU; where one of them has less
    memory, to nine tenths of that. The CUDA context, about half a GiB, comes on top. Other
    processes are not limited.

    Args:
        max_memory_gb: GiB of each GPU, 0 for no limit. None takes the limit in force: that of the
            training, else `EXPLR_GPU_MEMORY_GB`, the default of `explr memory --limit`, or 24 GiB
            (nine tenths of the first GPU if that is less).

    Returns:
        The limit in force, in GiB; 0 for none.

    Raises:
        UsageError: the limit is not a number, or negative.
        DeviceError: it is above the memory of every card, or too late: the framework uses more
            already, or has started with another limit. If the framework is not imported yet, its
            `import` raises this.
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


def _checked(value: Any, name: str, source: str, gpus: Sequence[Gpu]) -> MemoryBudget:
    return MemoryBudget(check_limit(value, name, gpus), f"{name}, {source}")


def _limit(framework: Framework, limit_gb: float, package: ModuleType) -> None:
    framework.limit_memory(package, limit_gb, "max_memory_gb")
