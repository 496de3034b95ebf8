"""Checks of shared memory, the compiler, folders and Ray for `explr verify`."""

from __future__ import annotations

import os
import shutil
import sysconfig
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from explr.utils.gpu import nvidia_gpu_count
from explr.utils.nvml import GIB
from explr.utils.verify.check import Check, Probe, failed, passed, tell, warned

SHARED_MEMORY, COMPILER, RAY = "/dev/shm", "C compiler", "Ray"

LEAST_SHARED_GB = 1.0
"""GiB of shared memory that DataLoader workers and Ray need; Docker gives 0.06."""
LEAST_FREE_GB = 10.0
"""GiB that a night of checkpoints may take."""


def shared_memory_check(folder: str = SHARED_MEMORY) -> Check:
    """Whether DataLoader workers and Ray have room to hand tensors over.

    Args:
        folder: where shared memory is mounted.
    """
    remedy = "In a container, set shm_size: 8gb (docker run --shm-size=8g)."
    try:
        total_gb = shutil.disk_usage(folder).total / GIB
    except OSError as error:
        return warned(SHARED_MEMORY, f"not usable: {error.strerror}", remedy)
    if total_gb < LEAST_SHARED_GB:
        return warned(SHARED_MEMORY, f"{total_gb:.2f} GiB", remedy)
    return passed(SHARED_MEMORY, f"{total_gb:.1f} GiB")


def compiler_check() -> Check:
    """Whether torch.compile finds a C compiler and Python's headers."""
    names = [os.environ.get("CC", ""), "gcc", "clang", "cc"]
    found = next((path for name in names if name and (path := shutil.which(name))), None)
    header = Path(sysconfig.get_path("include"), "Python.h")
    if found is not None and header.is_file():
        return passed(COMPILER, f"{found}, and Python.h")
    lacking = "none is on the PATH" if found is None else f"{found}, but there is no {header}"
    return warned(
        COMPILER,
        lacking,
        "torch.compile needs it: install gcc and the headers of this Python (python3-dev).",
    )


def folder_check(name: str, folder: Path) -> Check:
    """Whether a folder can be written and has room.

    Args:
        name: what the person calls it.
        folder: it, or where it will be made.
    """
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
        free_gb = shutil.disk_usage(there).free / GIB
    except OSError as error:
        seen = f"{folder} cannot be written: {error.strerror}"
        return failed(name, seen, "Choose another folder, or give yourself the right to write.")
    seen = f"{folder}, {free_gb:.1f} GiB free"
    if free_gb < LEAST_FREE_GB:
        return warned(name, seen, f"Make room: a long sweep wants {LEAST_FREE_GB:g} GiB.")
    return passed(name, seen)


def look_at_ray() -> None:
    """Start Ray and print how many GPUs it sees; run in a process of its own."""
    ray: Any = import_module("ray")
    tell(version=ray.__version__)
    ray.init(
        address="local",
        num_cpus=1,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=100 * 2**20,
    )
    tell(gpus=int(ray.cluster_resources().get("GPU", 0)))
    ray.shutdown()


def ray_check(found: Probe | None, needed: bool) -> Check:
    """Whether Ray starts, and sees the GPUs that this process sees.

    Args:
        found: the probe's result; None if Ray is not installed.
        needed: whether the configuration tunes with Ray.
    """
    if found is None:
        if needed:
            return failed(RAY, "not installed", "Install it with pip install 'explr-train[ray]'.")
        return passed(RAY, "not installed")
    facts, usable = found.facts, nvidia_gpu_count()
    if "gpus" not in facts:
        say = failed if needed else warned
        seen = f"it does not start: {found.ended}"
        return say(RAY, seen, "Install ray anew, and see whether RAY_ variables are set.")
    seen = f"ray {facts['version']} starts, and sees {facts['gpus']} GPU(s)"
    if facts["gpus"] != usable:
        return warned(RAY, f"{seen} where {usable} can be used", "Look at CUDA_VISIBLE_DEVICES.")
    return passed(RAY, seen)


if __name__ == "__main__":
    look_at_ray()
