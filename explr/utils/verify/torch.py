"""Checks of PyTorch for `explr verify`: a probe in its own process, and checks of its result.

Which build suits which driver: PyTorch 2.8 to 2.10 on the package index are built for CUDA 12.8,
later ones for CUDA 13, which needs driver 580.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from explr.utils.nvml import Driver
from explr.utils.verify.check import Check, Probe, computes, failed, passed, tell, unusable, warned

LAST_FOR_CUDA_12 = "2.10.0"
"""The last release of PyTorch on the package index that is built for CUDA 12."""
FIRST_FOR_CUDA_13 = "580"
"""The first driver that runs CUDA 13."""

BUILD, KERNELS, COMPUTES = "PyTorch's CUDA", "PyTorch's kernels", "PyTorch computes"


def look() -> None:
    """Print what the installed PyTorch is and can do; run in a process of its own."""
    import torch

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    count = torch.cuda.device_count() if available else 0
    tell(
        version=torch.__version__,
        cuda=torch.version.cuda,
        gpus=count,
        reason=str(caught[0].message).splitlines()[0] if caught else "",
        kernels=torch.cuda.get_arch_list(),
        capabilities=[torch.cuda.get_device_capability(i) for i in range(count)],
    )
    devices = [f"cuda:{index}" for index in range(count)] or ["cpu"]
    for device in devices:
        _compute(torch, device)
    tell(computed=devices)


def _compute(torch: Any, device: str) -> None:
    """A product of matrices, a convolution and their gradients, with results known beforehand."""
    square = torch.ones(64, 64, device=device, requires_grad=True)
    (square @ square).sum().backward()
    assert square.grad[0, 0].item() == 128, f"a gradient of a matrix product is wrong on {device}"
    image = torch.ones(1, 1, 8, 8, device=device, requires_grad=True)
    kernel = torch.ones(1, 1, 3, 3, device=device, requires_grad=True)
    total = torch.nn.functional.conv2d(image, kernel).sum()
    total.backward()
    right = total.item() == 324 and kernel.grad[0, 0, 0, 0].item() == 36
    assert right, f"a convolution is wrong on {device}"


def checks(found: Probe | None, driver: Driver, usable: int, needed: bool) -> list[Check]:
    """The checks that the probe answers.

    Args:
        found: the probe's result; None if PyTorch is not installed.
        driver: the NVIDIA driver.
        usable: number of GPUs that this process may use.
        needed: whether the configuration trains with PyTorch.
    """
    if found is None or "version" not in found.facts:
        return [unusable(BUILD, found, "torch", needed)]
    return [
        _build(found.facts, driver, usable),
        _kernels(found.facts, usable, driver),
        computes(COMPUTES, found, "Install PyTorch anew, and look at what is said of its CUDA."),
    ]


def pin_for(driver: Driver) -> str:
    """The sentence that names the PyTorch to install for a driver."""
    if driver.cuda is not None and driver.cuda < (12, 0):
        return "Update the NVIDIA driver to 570 or newer, which runs CUDA 12.8."
    if driver.cuda is not None and driver.cuda < (13, 0):
        return (
            f"Install torch=={LAST_FOR_CUDA_12}, the last release for CUDA 12.8 "
            f"(pip install torch=={LAST_FOR_CUDA_12}), or update the NVIDIA driver to "
            f"{FIRST_FOR_CUDA_13} or newer."
        )
    return "Install the newest torch from the package index (pip install --upgrade torch)."


def runs_on(capability: Sequence[int], kernels: Sequence[str], ptx: bool = True) -> bool:
    """Whether a GPU runs what was compiled.

    A binary runs on its own architecture and on later ones of the same major number, PTX on its
    own and on every later one: CUDA's programming guide, under "Application Compatibility".

    Args:
        capability: compute capability of the GPU, as (12, 0).
        kernels: what was compiled for, as sm_90 (binary) and compute_90 (PTX).
        ptx: whether PTX counts.
    """
    major, minor = capability[0], capability[1]
    for kernel in kernels:
        kind, _, number = kernel.partition("_")
        if not number.isdecimal():
            continue  # sm_90a and the like run on that one architecture's own features
        of = int(number[:-1]), int(number[-1])
        if kind == "sm" and of[0] == major and of[1] <= minor:
            return True
        if kind == "compute" and ptx and of <= (major, minor):
            return True
    return False


def _build(facts: dict[str, Any], driver: Driver, usable: int) -> Check:
    cuda = facts["cuda"]
    built = f"torch {facts['version']} is built for {f'CUDA {cuda}' if cuda else 'the CPU'}"
    if usable == 0:
        return passed(BUILD, f"{built}, and there is no GPU to use")
    has = f"driver {driver.version} runs CUDA up to {_version(driver.cuda)}"
    if cuda is None:
        return failed(BUILD, f"{built}, and a GPU is here", pin_for(driver))
    built_for = tuple(int(part) for part in str(cuda).split(".")[:2])
    if driver.cuda is not None and built_for[0] > driver.cuda[0]:
        return failed(BUILD, f"{built}, and {has}", pin_for(driver))
    if facts["gpus"] == 0:
        why = facts["reason"] or "torch.cuda.is_available() is False"
        return failed(BUILD, f"{built}, and sees no GPU: {why}", pin_for(driver))
    if driver.cuda is not None and built_for > driver.cuda:
        return warned(
            BUILD,
            f"{built}, and {has}",
            "Most of it works within one major version; update the driver if something does not.",
        )
    if facts["gpus"] != usable:
        return warned(
            BUILD,
            f"{built}, and sees {facts['gpus']} of {usable} GPUs",
            "Look at CUDA_VISIBLE_DEVICES, and at what `explr gpu-info` says.",
        )
    return passed(BUILD, f"{built}, sees {facts['gpus']} GPU(s), and {has}")


def _kernels(facts: dict[str, Any], usable: int, driver: Driver) -> Check:
    if facts["gpus"] == 0:
        if usable == 0:
            return passed(KERNELS, "there is no GPU to have any for")
        return warned(KERNELS, "unknown, since torch sees no GPU", "Mend that first.")
    lacking = [each for each in facts["capabilities"] if not runs_on(each, facts["kernels"])]
    there = ", ".join(facts["kernels"])
    if lacking:
        names = ", ".join("sm_{}{}".format(*each) for each in lacking)
        return failed(KERNELS, f"no kernels for {names}, only for {there}", pin_for(driver))
    return passed(KERNELS, there)


def _version(numbers: tuple[int, int] | None) -> str:
    return "an unknown version" if numbers is None else "{}.{}".format(*numbers)


if __name__ == "__main__":
    look()
