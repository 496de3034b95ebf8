"""TensorFlow and Keras: their settings, their checkpoints, and a callback.

`KerasReporter` is found here, but its module, which has to import Keras, is loaded on first use.
"""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from explr.core.checkpoint import Serializer
from explr.core.errors import CheckpointError
from explr.core.on_import import apply_on_import
from explr.frameworks.device import choose_device, cuda_index, device_missing
from explr.utils.memory import CONFIG_KEY, hold_to
from explr.utils.memory_limits import limit_tensorflow, tensorflow_started
from explr.utils.seed import seed_everything

if TYPE_CHECKING:
    from explr.frameworks.keras_reporter import KerasReporter

__all__ = ["KerasReporter", "KerasSerializer", "TensorFlow"]

logger = logging.getLogger(__name__)

_threads_in_force: int | None = None
"""CPU threads that a training of this process has set."""


def __getattr__(name: str) -> Any:
    if name == "KerasReporter":
        from explr.frameworks.keras_reporter import KerasReporter

        return KerasReporter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class KerasSerializer:
    """Writes a Keras model with its optimizer's state, in Keras's own format."""

    suffix = ".keras"

    def save(self, state: Any, path: Path) -> None:
        """Write the Keras model `state` to `path`.

        Raises:
            CheckpointError: `state` is no Keras model.
        """
        import keras

        if not isinstance(state, keras.Model):
            raise CheckpointError(
                f"a TensorFlow checkpoint is a Keras model, got {type(state).__name__}"
            )
        state.save(path)

    def load(self, path: Path) -> Any:
        """Read the model that `save` wrote."""
        import keras

        return keras.models.load_model(path)


class TensorFlow:
    """TensorFlow and Keras behind the protocol `Framework`."""

    name = "tensorflow"
    package = "tensorflow"
    serializer: Serializer = KerasSerializer()

    def resolve_device(self, requested: str) -> str:
        """See `Framework.resolve_device`."""
        return choose_device(requested, self.package, _usable_gpus)

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
        hold_to(memory_limit_gb)
        settings = partial(_apply, deterministic, threads, device, memory_limit_gb)
        apply_on_import("framework", {self.package: settings})
        seed_everything(seed)


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
    for gpu in visible:
        limit_tensorflow(config, gpu, memory_limit_gb, CONFIG_KEY)
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
