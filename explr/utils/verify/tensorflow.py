"""Checks of TensorFlow for `explr verify`: a probe in its own process, and checks of its result.

TensorFlow's own builds up to 2.21 hold no kernels for Blackwell cards (sm_120, the RTX 50 series),
and abort with CUDA_ERROR_INVALID_PTX there; the PTX that they hold does not help.
"""

from __future__ import annotations

from typing import Any

from explr.utils.nvml import Driver
from explr.utils.verify.check import Check, Probe, computes, failed, passed, tell, unusable, warned
from explr.utils.verify.torch import runs_on

BLACKWELL = 10
"""Major compute capability from which on TensorFlow's PTX is refused."""

BUILD, KERNELS, COMPUTES = "TensorFlow's CUDA", "TensorFlow's kernels", "TensorFlow computes"

ON_THE_CPU = (
    "Train TensorFlow on the CPU with gpu=cpu, or with PyTorch behind Keras (KERAS_BACKEND=torch)."
)


def look() -> None:
    """Print what the installed TensorFlow is and can do; run in a process of its own."""
    import tensorflow as tf

    build = tf.sysconfig.get_build_info()
    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    capabilities = [each["compute_capability"] for each in details if "compute_capability" in each]
    kernels = list(build.get("cuda_compute_capabilities", []))
    tell(
        version=tf.__version__,
        cuda=build.get("cuda_version") if build.get("is_cuda_build") else None,
        gpus=len(gpus),
        kernels=kernels,
        capabilities=capabilities,
    )
    if not all(_runs(each, kernels) for each in capabilities):
        tf.config.set_visible_devices([], "GPU")  # it would abort, after minutes of compiling
        gpus = []
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    devices = [f"/GPU:{index}" for index in range(len(gpus))] or ["/CPU:0"]
    for device in devices:
        with tf.device(device):
            _compute(tf)
    tell(computed=devices)


def _compute(tf: Any) -> None:
    """A product of matrices, a convolution and their gradients, with results known beforehand."""
    square, image = tf.Variable(tf.ones((64, 64))), tf.ones((1, 8, 8, 1))
    kernel = tf.Variable(tf.ones((3, 3, 1, 1)))
    with tf.GradientTape(persistent=True) as tape:
        product = tf.reduce_sum(square @ square)
        total = tf.reduce_sum(tf.nn.conv2d(image, kernel, strides=1, padding="VALID"))
    assert float(tape.gradient(product, square)[0, 0]) == 128, "a gradient is wrong"
    assert float(total) == 324, "a convolution is wrong"
    assert float(tape.gradient(total, kernel)[0, 0, 0, 0]) == 36, "a gradient is wrong"


def checks(found: Probe | None, driver: Driver, usable: int, needed: bool) -> list[Check]:
    """The checks that the probe answers.

    Args:
        found: the probe's result; None if TensorFlow is not installed.
        driver: the NVIDIA driver.
        usable: number of GPUs that this process may use.
        needed: whether the configuration trains with TensorFlow.
    """
    if found is None or "version" not in found.facts:
        return [unusable(BUILD, found, "tensorflow", needed)]
    blackwell = any(
        gpu.compute_capability is not None and gpu.compute_capability[0] >= BLACKWELL
        for gpu in driver.gpus
    )
    return [
        _build(found.facts, usable, blackwell),
        _kernels(found.facts, usable),
        computes(COMPUTES, found, ON_THE_CPU),
    ]


def _runs(capability: Any, kernels: list[str]) -> bool:
    return runs_on(capability, kernels, ptx=capability[0] < BLACKWELL)


def _build(facts: dict[str, Any], usable: int, blackwell: bool) -> Check:
    cuda, gpus = facts["cuda"], facts["gpus"]
    built = f"tensorflow {facts['version']} is built for {f'CUDA {cuda}' if cuda else 'the CPU'}"
    if usable == 0:
        return passed(BUILD, f"{built}, and there is no GPU to use")
    if gpus:
        return passed(BUILD, f"{built}, and sees {gpus} GPU(s)")
    if blackwell:
        return passed(
            BUILD,
            f"{built}, and trains on the CPU, which is all that releases up to 2.21 do on an "
            "RTX 50 card",
        )
    return warned(
        BUILD,
        f"{built}, and sees no GPU",
        "Install tensorflow[and-cuda] if TensorFlow is to train on it.",
    )


def _kernels(facts: dict[str, Any], usable: int) -> Check:
    if facts["gpus"] == 0:
        seen = "there is no GPU to have any for" if usable == 0 else "it sees no GPU to need any"
        return passed(KERNELS, seen)
    there = ", ".join(facts["kernels"]) or "none known"
    lacking = [each for each in facts["capabilities"] if not _runs(each, facts["kernels"])]
    if lacking:
        names = ", ".join("sm_{}{}".format(*each) for each in lacking)
        return failed(KERNELS, f"no kernels for {names}, only for {there}", ON_THE_CPU)
    return passed(KERNELS, there)


if __name__ == "__main__":
    look()
