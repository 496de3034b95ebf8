"""What every framework has to do alike."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from explr.core.errors import CheckpointError, ConfigError, DeviceError, MissingDependencyError
from explr.core.framework import REGISTERED, Framework
from explr.frameworks.base import get_framework
from explr.utils.gpu import nvidia_gpu_count

PLAIN = {"deterministic": False, "threads": None, "device": "cpu", "memory_limit_gb": 0}
# Keras 3 itself, when it saves a model with numpy 2.4
KERAS_WARNING = "ignore:__array__ implementation doesn't accept a copy keyword"
NAMES = [
    "none",
    "pytorch",
    pytest.param("tensorflow", marks=[pytest.mark.slow, pytest.mark.filterwarnings(KERAS_WARNING)]),
]

DRAW = {
    "none": "import numpy; print(numpy.random.rand(3).tolist())",
    "pytorch": "import torch; print(torch.rand(3).tolist(), torch.nn.Linear(2, 2).weight.tolist())",
    "tensorflow": (
        "import keras, tensorflow as tf; dense = keras.layers.Dense(2); dense.build((1, 2)); "
        "print(tf.random.uniform([3]).numpy().tolist(), dense.kernel.numpy().tolist())"
    ),
}
"""Code that prints random numbers and the first weights of a layer."""


def output_of(code: str) -> str:
    """What a fresh interpreter without GPUs prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def configure(name: str, seed: int | None, **settings: Any) -> str:
    """Code that configures a framework."""
    return (
        "from explr.frameworks.base import get_framework\n"
        f"get_framework({name!r}).configure(seed={seed}, **{ {**PLAIN, **settings} })\n"
    )


def model_of(name: str) -> Any:
    if name == "none":
        return {"weights": np.random.rand(3), "bias": np.random.rand(1)}
    if name == "pytorch":
        import torch

        return torch.nn.Linear(2, 1)
    import keras

    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])


def state_of(model: Any) -> Any:
    """What a checkpoint of a model holds."""
    return model.state_dict() if hasattr(model, "state_dict") else model


def weights_of(state: Any) -> list[float]:
    """Weights of a model or of the state of one, flat."""
    if isinstance(state, dict):
        return [value for tensor in state.values() for value in tensor.flatten().tolist()]
    return [value for array in state.get_weights() for value in array.flatten().tolist()]


@pytest.fixture(params=NAMES)
def framework(request: pytest.FixtureRequest) -> Framework:
    return get_framework(request.param)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError) as raised:
        get_framework("jax")
    known = "auto, pytorch, tensorflow or none"
    assert str(raised.value) == f"framework.name must be {known}, got 'jax'"


@pytest.mark.parametrize(("name", "extra"), [("pytorch", "torch"), ("tensorflow", "tensorflow")])
def test_a_missing_package_names_its_extra(
    name: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, extra, None)
    with pytest.raises(MissingDependencyError, match=rf"'explr-train\[{extra}\]'"):
        get_framework(name)


@pytest.mark.parametrize("name", ["none", "pytorch", "tensorflow"])
def test_a_training_that_imports_no_framework_pays_for_none(name: str) -> None:
    code = configure(name, 1, deterministic=True, threads=1)
    code += (
        f"device = get_framework({name!r}).resolve_device('auto')\n"
        "import sys; heavy = {'torch', 'tensorflow', 'keras', 'numpy', 'pynvml'}\n"
        "print(device, heavy & set(sys.modules))"
    )
    assert output_of(code) == "cpu set()\n"


def test_cpu_is_always_there(framework: Framework) -> None:
    assert framework.resolve_device("cpu") == "cpu"


def test_a_device_that_is_not_there_says_what_is(framework: Framework) -> None:
    with pytest.raises(DeviceError, match=r"gpu\.device=cuda:97 .*it has cpu"):
        framework.resolve_device("cuda:97")


@pytest.mark.skipif(nvidia_gpu_count() > 0, reason="this machine has a GPU")
def test_auto_is_the_cpu_where_there_is_no_gpu(framework: Framework) -> None:
    assert framework.resolve_device("auto") == "cpu"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["none", "pytorch", "tensorflow"])
def test_a_seed_gives_the_same_numbers_however_it_meets_the_import(name: str) -> None:
    seed, other, draw = configure(name, 5), configure(name, 6), DRAW[name]
    imports = draw.partition(";")[0]
    unmoved = f"state = random.getstate()\n{imports}\nassert random.getstate() == state"
    # seeds, another one first, before the import, which draws no number
    before = f"{other}\n{seed}\nimport random\n{unmoved}\n{draw}"
    # then another seed, and the first again, where it is imported and drawn from
    first, second, again = output_of(f"{before}\n{other}\n{draw}\n{seed}\n{draw}").splitlines()
    assert first != second
    assert again == first


def test_the_newest_seed_counts_in_one_process(framework: Framework) -> None:
    def weights(seed: int) -> list[float]:
        framework.configure(seed=seed, **PLAIN)
        model = model_of(framework.name)
        return weights_of(state_of(model))

    first = weights(1)
    assert weights(2) != first
    assert weights(1) == first


def test_checkpoints_come_back(framework: Framework, make_context: Any) -> None:
    ctx = make_context(checkpoints=make_context.checkpoints(framework.name))
    state = state_of(model_of(framework.name))
    assert ctx.load_checkpoint() is None
    path = ctx.save_checkpoint(state, 3)
    assert path.suffix == framework.serializer.suffix
    step, loaded = ctx.load_checkpoint()
    assert step == 3
    assert weights_of(loaded) == weights_of(state)


UNREADABLE = {"draw": lambda: 4}
"""What no framework can read back."""


def test_a_state_that_could_not_be_read_back_is_refused_at_once(
    framework: Framework, make_context: Any
) -> None:
    ctx = make_context(checkpoints=make_context.checkpoints(framework.name))
    with pytest.raises(CheckpointError):
        ctx.save_checkpoint(UNREADABLE, 0)
    assert list(ctx.output_dir.rglob("*.*")) == []


def test_every_registered_framework_is_tried_here() -> None:
    names = {name if isinstance(name, str) else name.values[0] for name in NAMES}
    assert names == set(REGISTERED)


OUT_OF_MEMORY = {
    "none": "OutOfMemoryError",
    "pytorch": "OutOfMemoryError",
    "tensorflow": "ResourceExhaustedError",
}
"""Class of the error that is raised for want of memory."""


def test_memory_that_ran_out_is_known(framework: Framework) -> None:
    assert not framework.is_out_of_memory(ValueError("CUDA out of memory"))
    raised = type(OUT_OF_MEMORY[framework.name], (RuntimeError,), {})("no room")
    assert framework.is_out_of_memory(raised)
