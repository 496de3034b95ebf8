from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from explr.config.importing import import_file
from explr.core.checkpoint import Checkpoints
from explr.core.errors import CheckpointError, TrialPruned
from explr.frameworks.tensorflow import TensorFlow

pytestmark = [
    pytest.mark.slow,
    # Keras 3 itself, when it saves a model with numpy 2.4
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword"),
]

SETTINGS = '{"seed": None, "deterministic": False, "threads": None, "device": "cpu"}'

TWO_GPUS = f"""
import os
import tensorflow as tf
from tensorflow.python.eager import context
from explr.core.errors import DeviceError
from explr.frameworks.tensorflow import TensorFlow

# TensorFlow's own rules, on a machine with two GPUs: only the list of devices is made up.
machine = context.context()
machine._initialize_physical_devices()
gpus = [context.PhysicalDevice(f"/physical_device:GPU:{{n}}", "GPU") for n in (0, 1)]
machine._physical_devices += gpus
machine._visible_device_list += gpus
machine._memory_growth_map.update(dict.fromkeys(gpus))

def configure(**settings):
    settings = {{**{SETTINGS}, "memory_limit_gb": 0, **settings}}
    try:
        TensorFlow().configure(**settings)
    except DeviceError as error:
        return str(error)

def visible():
    return [gpu.name[-1] for gpu in tf.config.get_visible_devices("GPU")]

def growth():
    return [tf.config.experimental.get_memory_growth(gpu) for gpu in gpus]

def limits():
    devices = [tf.config.get_logical_device_configuration(gpu) or [] for gpu in gpus]
    return [device.memory_limit for [device] in filter(None, devices)]

def start():
    machine._context_handle = object()
"""


def output_of(code: str) -> list[str]:
    """What a fresh interpreter prints, line by line."""
    # The made-up machine cannot be taken down in order.
    ended = code + "\nimport os, sys; sys.stdout.flush(); os._exit(0)"
    done = subprocess.run(
        [sys.executable, "-c", ended], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.stdout or done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_devices_and_memory_before_and_after_the_start() -> None:
    lines = output_of(
        TWO_GPUS + "print(TensorFlow().resolve_device('cuda:1'))\n"
        "print(configure(device='cuda:1'), visible(), growth())\n"
        "print(configure(device='cuda', memory_limit_gb=2), visible(), growth(), limits())\n"
        "print(configure(device='cpu'), visible())\n"
        "print(configure(device='cuda:2'))\n"
        "same = dict(device='cuda', memory_limit_gb=2, threads=1)\n"
        "configure(**same); start(); print(configure(**same))\n"
        "for other in (dict(device='cpu'), dict(memory_limit_gb=3), dict(memory_limit_gb=0),\n"
        "              dict(threads=2)):\n"
        "    print(configure(**{**same, **other}))\n"
    )
    assert lines[:6] == [
        "cuda:1",
        "None ['1'] [None, True]",
        "None ['0', '1'] [None, False] [2048, 2048]",
        "None []",
        "gpu.device=cuda:2 is not on this machine: it has cpu, cuda:0, cuda:1",
        "None",
    ]
    settings = ["gpu.device=cpu", "gpu.memory_limit_gb=3", "gpu.memory_limit_gb=0"]
    settings.append("framework.threads=2")
    for line, setting in zip(lines[6:], settings, strict=True):
        assert line.startswith(f"{setting} cannot be set, because TensorFlow has already started")


def test_a_light_module_threads_and_deterministic_mode() -> None:
    lines = output_of(
        "import logging, sys; logging.basicConfig(stream=sys.stdout, format='%(message)s')\n"
        "import explr.frameworks.tensorflow as module; print('keras' in sys.modules)\n"
        "print(module.KerasReporter.__name__, 'keras' in sys.modules)\n"
        "import tensorflow as tf\n"
        "from explr.frameworks.tensorflow import TensorFlow\n"
        f"plain = {{**{SETTINGS}, 'memory_limit_gb': 0}}\n"
        "threads = tf.config.threading.get_intra_op_parallelism_threads\n"
        "for n in (2, None, 1):\n"
        "    TensorFlow().configure(**{**plain, 'threads': n}); print(threads())\n"
        "tf.zeros(1) + 1\n"
        "TensorFlow().configure(**{**plain, 'threads': 1})\n"
        "TensorFlow().configure(**{**plain, 'seed': 1, 'deterministic': True})\n"
        "from tensorflow.python.framework.config import is_op_determinism_enabled\n"
        "print(is_op_determinism_enabled())\n"
    )
    assert lines[:2] == ["False", "KerasReporter True"]  # keras, once the callback is used
    kept = "TensorFlow keeps its 1 CPU threads until this process ends"
    assert lines[2:] == ["2", "0", "1", kept, "True"]


def fit(callbacks: Any, epochs: int, initial_epoch: int = 0) -> Any:
    import keras

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.1), loss="mse", metrics=["mae"])
    x = np.linspace(0, 1, 8, dtype=np.float32)[:, None]
    model.fit(
        x,
        2 * x,
        epochs=epochs,
        initial_epoch=initial_epoch,
        validation_data=(x, 2 * x),
        callbacks=callbacks,
        verbose=0,
    )
    return model


def test_the_callback_reports_and_keeps_the_best_model(make_context: Any, tmp_path: Path) -> None:
    import keras

    from explr.frameworks.tensorflow import KerasReporter

    ctx = make_context()
    reporter = KerasReporter(ctx)
    assert isinstance(reporter, keras.callbacks.Callback)
    fit([reporter], epochs=3)
    result = reporter.result()
    assert [step for step, _ in ctx.tracker.rows] == [0, 1, 2]
    assert list(ctx.tracker.rows[0][1]) == ["train_loss", "val_loss", "train_mae", "val_mae"]
    assert result.primary_metric == min(row["val_loss"] for _, row in ctx.tracker.rows)
    assert result.epochs_completed == 3
    assert result.best_model_path == str(tmp_path / "best_model.keras")
    best = keras.models.load_model(result.best_model_path)
    x = np.linspace(0, 1, 8, dtype=np.float32)[:, None]
    assert best.evaluate(x, 2 * x, verbose=0)[0] == pytest.approx(result.primary_metric)


def test_the_learning_rate_keeps_its_name(make_context: Any) -> None:
    import keras

    from explr.frameworks.tensorflow import KerasReporter

    ctx = make_context()
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch: 0.5)
    fit([schedule, KerasReporter(ctx)], epochs=1)
    assert ctx.tracker.rows[0][1]["learning_rate"] == 0.5


def test_the_callback_prunes(make_context: Any) -> None:
    from explr.frameworks.tensorflow import KerasReporter

    ctx = make_context("val_loss", reporter=make_context.PruneAt(1))
    with pytest.raises(TrialPruned):
        fit([KerasReporter(ctx)], epochs=5)
    assert [step for step, _ in ctx.tracker.rows] == [0, 1]


def test_the_callback_resumes(make_context: Any) -> None:
    from explr.frameworks.tensorflow import KerasReporter

    ctx = make_context()
    fit([KerasReporter(ctx)], epochs=2)
    resumed = KerasReporter(ctx, start_epoch=2)
    fit([resumed], epochs=3, initial_epoch=2)
    assert resumed.result().epochs_completed == 3
    assert resumed.result().primary_metric == min(row["val_loss"] for _, row in ctx.tracker.rows)


PARTS = """\
import keras
from keras import ops


@keras.saving.register_keras_serializable("mine")
class Doubled(keras.layers.Layer):
    def __init__(self, times=2.0, **other):
        super().__init__(**other)
        self.times = times

    def call(self, x):
        return x * self.times

    def get_config(self):
        return {**super().get_config(), "times": self.times}


@keras.saving.register_keras_serializable("mine")
class Forgetful(Doubled):
    def __init__(self, times, **other):
        super().__init__(times, **other)

    def get_config(self):
        return keras.layers.Layer.get_config(self)


class Unknown(Doubled):
    pass


@keras.saving.register_keras_serializable("mine")
def own_loss(y, p):
    return ops.mean(ops.abs(y - p))


@keras.saving.register_keras_serializable("mine")
class Worst(keras.metrics.MeanMetricWrapper):
    def __init__(self, name="worst", dtype=None):
        super().__init__(own_loss, name=name, dtype=dtype)

    def get_config(self):
        return {"name": self.name}


def unknown_loss(y, p):
    return ops.mean(y - p)


def train(ctx):
    step, model = ctx.load_checkpoint()
    assert type(model.layers[0]).__name__ == "Doubled" and model.layers[0].times == 3.0
    return float(model.optimizer.iterations.numpy())
"""


@pytest.fixture
def parts(tmp_path: Path) -> Any:
    """A user's file with layers, losses and metrics, imported as explr imports it."""
    (tmp_path / "parts.py").write_text(PARTS)
    module = import_file(tmp_path / "parts.py", "parts")
    yield module
    sys.path.remove(str(tmp_path))
    del sys.modules["parts"]


def model_of(layer: Any, loss: Any = "mse", metrics: Any = None) -> Any:
    import keras

    model = keras.Sequential([keras.Input((1,)), layer, keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.1), loss=loss, metrics=metrics)
    return model


def test_a_model_with_parts_of_ones_own_is_resumed_by_another_process(
    explr: Any, parts: Any, tmp_path: Path
) -> None:
    model = model_of(parts.Doubled(3.0), parts.own_loss, [parts.Worst()])
    x = np.linspace(0, 1, 8, dtype=np.float32)[:, None]
    model.fit(x, x, epochs=2, verbose=0)
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints", TensorFlow.serializer)
    drawn = random.getstate()
    checkpoints.save(model, 1)
    assert random.getstate() == drawn, "the check draws no numbers of the training's"
    loaded = checkpoints.load()
    assert loaded is not None
    again = loaded[1]
    assert again.evaluate(x, x, verbose=0) == model.evaluate(x, x, verbose=0)
    moments = [variable.numpy() for variable in model.optimizer.variables]
    for variable, moment in zip(again.optimizer.variables, moments, strict=True):
        np.testing.assert_array_equal(variable.numpy(), moment)
    done = explr(
        "framework=tensorflow", "train_model=parts.py:train", "tracking=off", "hydra.run.dir=run"
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["value"] == 2, "the steps of the optimizer"


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
def test_a_model_that_keras_could_not_load_is_refused(parts: Any, tmp_path: Path) -> None:
    import keras

    layers, decorate = keras.layers, r"decorate it with @keras\.saving\.register_keras_serializable"
    half = layers.Dense(1, activation=lambda x: x / 2)
    refused = [
        (model_of(parts.Unknown(name="odd")), f"layer odd .*does not know Unknown; {decorate}"),
        (model_of(layers.Lambda(lambda x: x, name="odd")), f"layer odd .*a lambda; .*{decorate}"),
        (model_of(half), f"layer {half.name} .*a lambda; .*{decorate}"),
        (
            model_of(parts.Forgetful(2.0, name="odd")),
            r"layer odd .*'times'; its get_config\(\) must",
        ),
        (
            model_of(layers.Flatten(), parts.unknown_loss),
            f"loss in compile.*unknown_loss; {decorate}",
        ),
        (
            model_of(layers.Flatten(), lambda y, p: y - p),
            f"loss in compile.*a lambda; .*{decorate}",
        ),
        (model_of(layers.Flatten(), metrics=[parts.unknown_loss]), "metrics in compile"),
        ({"epoch": 3}, "a TensorFlow checkpoint is a Keras model, .* got dict: give the model"),
    ]
    for model, said in refused:
        with pytest.raises(CheckpointError, match=said):
            Checkpoints(tmp_path / "checkpoints", TensorFlow.serializer).save(model, 0)
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_class_that_is_not_defined_yet_is_named_at_loading(parts: Any, tmp_path: Path) -> None:
    import keras

    checkpoints = Checkpoints(tmp_path / "checkpoints", TensorFlow.serializer)
    checkpoints.save(model_of(parts.Doubled()), 0)
    known = keras.saving.get_custom_objects()
    doubled = known.pop("mine>Doubled")
    try:
        with pytest.raises(CheckpointError, match=r"'Doubled'.*before ctx\.load_checkpoint\(\)"):
            checkpoints.load()
    finally:
        known["mine>Doubled"] = doubled


def test_the_callback_warns_of_a_best_model_that_needs_custom_objects(
    make_context: Any, parts: Any, caplog: pytest.LogCaptureFixture
) -> None:
    from explr.frameworks.tensorflow import KerasReporter

    model = model_of(layer=parts.Unknown())
    x = np.linspace(0, 1, 8, dtype=np.float32)[:, None]
    model.fit(
        x, x, epochs=2, validation_data=(x, x), callbacks=[KerasReporter(make_context())], verbose=0
    )
    warned = [one.message for one in caplog.records if "custom_objects" in one.message]
    assert len(warned) == 1
    assert "Keras does not know Unknown" in warned[0]


MIRRORED = """
import numpy as np
import tensorflow as tf
from explr import TrainingContext
from explr.core.errors import UsageError
from explr.frameworks.tensorflow import strategy

cpu, = tf.config.list_physical_devices("CPU")
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)
chosen = strategy(TrainingContext({}, None, "", device="cpu"))
assert type(chosen) is tf.distribute.MirroredStrategy
assert chosen.num_replicas_in_sync == 2
with chosen.scope():
    model = tf.keras.Sequential([tf.keras.layers.Input((1,)), tf.keras.layers.Dense(1)])
    model.compile(tf.keras.optimizers.SGD(0.3), "mse")
x = np.linspace(-1, 1, 64, dtype=np.float32)[:, None]
losses = model.fit(x, 2 * x, batch_size=16, epochs=8, verbose=0).history["loss"]
assert losses[-1] < losses[0] / 4, losses
try:
    strategy(TrainingContext({}, None, "", device="cpu", world_size=2))
except UsageError as error:
    print(error)
"""


def test_a_strategy_mirrors_a_model_on_all_devices() -> None:
    command = [sys.executable, "-c", MIRRORED]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "strategy(ctx) uses all GPUs in one process, and this training has 2: set "
        "framework.processes=1 and gpu.per_trial\n"
    )
