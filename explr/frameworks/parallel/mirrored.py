"""Several devices that train one model with TensorFlow, in one process."""

from __future__ import annotations

from typing import Any

from explr.core.errors import UsageError
from explr.core.protocols import TrainingContext


def strategy(ctx: TrainingContext) -> Any:
    """TensorFlow's `MirroredStrategy` on the devices of this training.

    These are all GPUs that it may use, such as those that `gpu.per_trial` gives to a trial; on the
    CPU, its logical devices. `MultiWorkerMirroredStrategy` is not offered.

    Args:
        ctx: the training's context.

    Returns:
        A `tf.distribute.MirroredStrategy`; make and compile the model in its `scope()`.

    Raises:
        UsageError: `framework.processes` is more than 1, which is for PyTorch.
    """
    if ctx.world_size > 1:
        raise UsageError(
            f"strategy(ctx) uses all GPUs in one process, and this training has {ctx.world_size}: "
            "set framework.processes=1 and gpu.per_trial"
        )
    import tensorflow as tf

    kind = "GPU" if ctx.device.startswith("cuda") else "CPU"
    found = [one.name for one in tf.config.list_logical_devices(kind)]
    return tf.distribute.MirroredStrategy(devices=found)
