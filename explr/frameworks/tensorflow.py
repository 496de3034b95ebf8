"""TensorFlow and Keras: their settings, their checkpoints, and a callback.

`KerasReporter` is found here, but its module, which has to import Keras, is loaded on first use.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from explr.core.checkpoint import Serializer
from explr.core.errors import CheckpointError, DeviceError
from explr.core.framework import Seeder
from explr.core.on_import import apply_on_import
from explr.frameworks.device import choose_device, cuda_index, device_missing
from explr.frameworks.parallel.mirrored import strategy
from explr.utils.gpu import visible_gpus
from explr.utils.memory import CONFIG_KEY, set_configured_limit, within_card
from explr.utils.nvml import GIB
from explr.utils.seed import seed_everything

if TYPE_CHECKING:
    from explr.frameworks.keras_reporter import KerasReporter

__all__ = ["KerasReporter", "KerasSerializer", "TensorFlow", "strategy"]

logger = logging.getLogger(__name__)

_threads_in_force: int | None = None
"""CPU threads that a training of this process has set."""


def __getattr__(name: str) -> Any:
    if name == "KerasReporter":
        from explr.frameworks.keras_reporter import KerasReporter

        return KerasReporter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _seed_tensorflow(seed: int, tensorflow: ModuleType) -> None:
    # Not through Keras, which may itself be in the middle of importing TensorFlow.
    tensorflow.random.set_seed(seed)


def _seed_keras(seed: int, keras: ModuleType) -> None:
    import numpy

    # Keras seeds numpy as well: a late import must not make a training draw the same numbers a
    # second time.
    state = numpy.random.get_state()
    keras.utils.set_random_seed(seed)
    numpy.random.set_state(state)


class KerasSerializer:
    """Writes a Keras model with its optimizer's state, in Keras's own format."""

    suffix = ".keras"

    def save(self, state: Any, path: Path) -> None:
        """Write the Keras model `state` to `path`.

        Raises:
            CheckpointError: `state` is no Keras model, or none that Keras could load again; the
                message names the layer, loss or metric and what to do.
        """
        import keras

        from explr.frameworks.keras_loading import loading_fault

        if not isinstance(state, keras.Model):
            raise CheckpointError(
                "a TensorFlow checkpoint is a Keras model, with what it was compiled with, got "
                f"{type(state).__name__}: give the model, and write other values to a file of your "
                "own in ctx.output_dir"
            )
        try:
            state.save(path)
        except (NotImplementedError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:300]
            raise CheckpointError(f"Keras cannot save the model: {reason}") from error
        if (fault := loading_fault(path)) is not None:
            raise CheckpointError(fault)

    def load(self, path: Path) -> Any:
        """Read the model that `save` wrote.

        Raises:
            CheckpointError: one of its classes or functions is not known in this process.
        """
        import keras

        try:
            return keras.models.load_model(path)
        except (TypeError, ValueError) as error:
            reason = " ".join(str(error).rpartition("Exception encountered: ")[2].split())[:300]
            raise CheckpointError(
                f"{path} cannot be loaded: {reason}; import or define what the model was made of "
                "before ctx.load_checkpoint()"
            ) from error


class TensorFlow:
    """TensorFlow and Keras behind the protocol `Framework`."""

    name = "tensorflow"
    packages: tuple[str, ...] = ("tensorflow", "keras")
    libraries: tuple[str, ...] = ()
    distributions: tuple[str, ...] = ("tensorflow", "tensorflow-cpu", "keras")
    extra: str | None = "tensorflow"
    probe: str | None = "explr.utils.verify.tensorflow"
    serializer: Serializer = KerasSerializer()
    seeders: Mapping[str, Seeder] = {"tensorflow": _seed_tensorflow, "keras": _seed_keras}
    has_ranks = False

    def resolve_device(self, requested: str) -> str:
        """See `Framework.resolve_device`."""
        return choose_device(requested, self.packages[0], _usable_gpus)

    def configure(
        self,
        *,
        seed: int | None,
        deterministic: bool,
        threads: int | None,
        device: str,
        memory_limit_gb: float,
    ) -> None:
        """See `Framework.configure`.

        TensorFlow fixes devices, memory and threads when it runs its first operation. A later
        training of the same process may ask for the same again, but not for other ones.
        Deterministic mode cannot be switched off again in a process. With a device of `cpu` GPUs
        are hidden from TensorFlow; with `cuda:N` all but this one.
        """
        set_configured_limit(memory_limit_gb)
        settings = partial(_apply, deterministic, threads, device, memory_limit_gb)
        apply_on_import("framework", {self.packages[0]: settings})
        seed_everything(seed)

    def limit_memory(self, module: ModuleType, limit_gb: float, setting: str) -> None:
        """See `Framework.limit_memory`."""
        _limit_each(module.config, module.config.get_visible_devices("GPU"), limit_gb, setting)

    def peak_memory_gb(self) -> float | None:
        """See `Framework.peak_memory_gb`."""
        tensorflow: Any = sys.modules.get("tensorflow")
        if tensorflow is None or not tensorflow.config.list_logical_devices("GPU"):
            return None
        return float(tensorflow.config.experimental.get_memory_info("GPU:0")["peak"] / GIB)

    def has_used_gpu(self) -> bool:
        """See `Framework.has_used_gpu`; asking TensorFlow itself would start it."""
        return False

    def is_out_of_memory(self, error: BaseException) -> bool:
        """See `Framework.is_out_of_memory`."""
        if type(error).__name__ == "ResourceExhaustedError":
            return True
        return isinstance(error, RuntimeError) and "CUDA_ERROR_OUT_OF_MEMORY" in str(error)


def _usable_gpus() -> int:
    import tensorflow as tf

    return len(tf.config.list_physical_devices("GPU"))


def _apply(
    deterministic: bool,
    threads: int | None,
    device: str,
    memory_limit_gb: float,
    tensorflow: ModuleType,
) -> None:
    config = tensorflow.config
    gpus = config.list_physical_devices("GPU")
    visible = _visible(gpus, device)
    try:
        config.set_visible_devices(visible, "GPU")
    except RuntimeError:
        raise tensorflow_started(f"gpu.device={device}") from None
    _limit_each(config, visible, memory_limit_gb, CONFIG_KEY)
    _set_threads(config, threads)
    if deterministic:
        config.experimental.enable_op_determinism()


def _visible(gpus: list[Any], device: str) -> list[Any]:
    if device == "cpu":
        return []
    index = cuda_index(device)
    if (index or 0) >= len(gpus):
        raise device_missing(device, "tensorflow", len(gpus))
    return gpus if index is None else [gpus[index]]


def _set_threads(config: Any, threads: int | None) -> None:
    global _threads_in_force
    if threads is None and _threads_in_force is None:
        return
    try:
        config.threading.set_intra_op_parallelism_threads(threads or 0)
    except RuntimeError:
        if threads is not None:
            raise tensorflow_started(f"framework.threads={threads}") from None
        logger.warning(
            "TensorFlow keeps its %s CPU threads until this process ends", _threads_in_force
        )
        return
    _threads_in_force = threads


def _limit_each(config: Any, gpus: Sequence[Any], limit_gb: float, setting: str) -> None:
    """Limit GPUs, each to what it has; TensorFlow does not tell how much that is."""
    known = visible_gpus() if limit_gb and len(gpus) > 1 else []
    for gpu in gpus:
        number = int(gpu.name.rpartition(":")[2])
        total_gb = known[number].memory_total_gb if number < len(known) else None
        limit_tensorflow(config, gpu, within_card(limit_gb, total_gb), setting)


def limit_tensorflow(config: Any, gpu: Any, limit_gb: float, setting: str) -> None:
    """Limit TensorFlow's memory on one GPU, or let it grow if there is no limit.

    Args:
        config: `tensorflow.config`.
        gpu: the physical device.
        limit_gb: GiB; 0 for no limit.
        setting: what the person calls the limit.

    Raises:
        DeviceError: TensorFlow has started with another setting.
    """
    try:
        if limit_gb == 0:
            config.experimental.set_memory_growth(gpu, True)
            return
        if config.experimental.get_memory_growth(gpu):  # the two exclude each other
            config.experimental.set_memory_growth(gpu, False)
        limit = config.LogicalDeviceConfiguration(memory_limit=max(1, round(limit_gb * 1024)))
        config.set_logical_device_configuration(gpu, [limit])
    except (RuntimeError, ValueError):  # ValueError: growth after a limit
        raise tensorflow_started(f"{setting}={limit_gb:g}") from None


def tensorflow_started(setting: str) -> DeviceError:
    """The error for a setting that TensorFlow takes only before its first operation."""
    return DeviceError(
        f"{setting} cannot be set, because TensorFlow has already started with another setting "
        f"in this process (pid {os.getpid()}): train in a fresh one"
    )
