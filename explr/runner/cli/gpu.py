"""`explr gpu-info` and `explr memory`: the GPUs, the processes on them, and the memory budget."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import click

from explr.results.table import Column, FittedTable, Row, SideBySide, hanging, show
from explr.utils.gpu import visible_gpus
from explr.utils.memory import SETTING, card_budgets, check_limit, memory_budget
from explr.utils.nvml import Driver, Gpu, GpuProcess, read_driver
from explr.utils.settings import write_setting

UNKNOWN = "unknown"


def show_gpus(as_json: bool) -> None:
    """Print the driver and its GPUs, or that there is no driver.

    Args:
        as_json: print JSON, with null for unknown values.
    """
    driver = read_driver()
    if as_json:
        click.echo(json.dumps(_plain(driver), indent=1))
        return
    click.echo(hanging(driver.state))
    if driver.gpus:
        _print_table(driver.gpus, _FIELDS)
        _print_processes(driver.gpus)
    elif driver.fault is None:
        click.echo("it has no GPU")


def show_memory() -> None:
    """Print the memory budget, where it is set, and the processes on the GPUs.

    Raises:
        UsageError: the limit that is set is invalid.
    """
    _print_budget()
    driver = read_driver()
    if not driver.gpus:
        click.echo(hanging(driver.state if driver.fault else f"{driver.state}: it has no GPU"))
        return
    _print_table(driver.gpus, _MEMORY_FIELDS)
    _print_processes(driver.gpus)


def keep_memory_limit(limit: str) -> None:
    """Save the user's own default.

    Args:
        limit: GiB, 0 for no limit, or `default` to go back to explr's default.

    Raises:
        UsageError: the limit is invalid, exceeds the card's memory, or cannot be saved.
    """
    kept = None if limit == "default" else check_limit(limit, "--limit", read_driver().gpus)
    path = write_setting(SETTING, kept)
    click.echo(f"saved in {path}")
    _print_budget()


def _print_budget() -> None:
    """Print the budget; one line for each GPU that CUDA may use, if it is not the same on all."""
    budgets = card_budgets()
    if len({str(budget) for budget in budgets}) <= 1:
        click.echo(hanging(f"budget: {memory_budget()}"))
        return
    for number, (gpu, budget) in enumerate(zip(visible_gpus(), budgets, strict=True)):
        card = f"GPU {gpu.index}, {gpu.name or UNKNOWN}"
        click.echo(hanging(f"budget of cuda:{number} ({card}): {budget}"))


def _plain(driver: Driver) -> dict[str, Any]:
    content = asdict(driver)
    content["state"] = driver.state
    content["cuda"] = _version(driver.cuda)
    for gpu, each in zip(driver.gpus, content["gpus"], strict=True):
        each["compute_capability"] = _version(gpu.compute_capability)
    return content


def _version(numbers: tuple[int, int] | None) -> str | None:
    return None if numbers is None else "{}.{}".format(*numbers)


def _amount(value: float | None, unit: str, digits: int = 1) -> str:
    return UNKNOWN if value is None else f"{value:.{digits}f} {unit}"


def _power(gpu: Gpu) -> str:
    limit = "" if gpu.power_limit_w is None else f" of {gpu.power_limit_w:.0f} W"
    return f"{_amount(gpu.power_w, 'W', 0)}{limit}"


def _mig(gpu: Gpu) -> str:
    return {None: UNKNOWN, True: "on", False: "off"}[gpu.mig]


_MEMORY_FIELDS: dict[str, Callable[[Gpu], str]] = {
    "name": lambda gpu: gpu.name or UNKNOWN,
    "memory": lambda gpu: _amount(gpu.memory_total_gb, "GiB"),
    "used": lambda gpu: _amount(gpu.memory_used_gb, "GiB"),
    "free": lambda gpu: _amount(gpu.memory_free_gb, "GiB"),
}
_FIELDS: dict[str, Callable[[Gpu], str]] = {
    **_MEMORY_FIELDS,
    "utilization": lambda gpu: _amount(gpu.utilization_percent, "%", 0),
    "temperature": lambda gpu: _amount(gpu.temperature_c, "°C", 0),
    "power": _power,
    "compute capability": lambda gpu: _version(gpu.compute_capability) or UNKNOWN,
    "architecture": lambda gpu: gpu.architecture or UNKNOWN,
    "MIG": _mig,
    "UUID": lambda gpu: gpu.uuid or UNKNOWN,
}
"""The rows of the table of GPUs."""


def _print_table(gpus: Sequence[Gpu], fields: dict[str, Callable[[Gpu], str]]) -> None:
    titles = [f"GPU {gpu.index}" for gpu in gpus]
    rows = [[name, *map(field, gpus)] for name, field in fields.items()]
    show(SideBySide(titles, titles, rows))


def _print_processes(gpus: Sequence[Gpu]) -> None:
    untold = [str(gpu.index) for gpu in gpus if gpu.processes is None]
    used = [(gpu, process) for gpu in gpus for process in gpu.processes or ()]
    if used:
        columns = [Column("GPU"), Column("pid"), Column("memory")]
        show("", FittedTable(columns, [_row(gpu, process) for gpu, process in used]))
    elif not untold:
        click.echo("no process uses a GPU")
    if untold:
        click.echo(f"the processes on GPU {', '.join(untold)} are unknown")


def _row(gpu: Gpu, process: GpuProcess) -> Row:
    memory = _amount(process.memory_gb, "GiB")
    name = {"process": process.name or UNKNOWN}
    return Row([str(gpu.index), str(process.pid), memory], name)
