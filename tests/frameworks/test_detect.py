"""Which framework `framework=auto` is, told from what a training imports."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest

from explr.core.errors import TargetError
from explr.frameworks.base import get_framework
from explr.frameworks.detect import imported_framework

TF_NOTEBOOK = """\
from types import ModuleType
tf = ModuleType("tensorflow")
def train(ctx): return tf.a
"""

FILES = {
    "plain.py": "import numpy\ndef train(ctx): return 0.5\n",
    "with_torch.py": "from torch import nn\ndef train(ctx): return 0.5\n",
    "within.py": "def train(ctx):\n    import keras\n    return 0.5\n",
    "by_helper.py": "from models.net import build\ndef train(ctx): return build()\n",
    "models/__init__.py": "",
    "models/net.py": "from . import layers\nbuild = layers.build\n",
    "models/layers.py": "import tensorflow as tf\ndef build(): return tf\n",
    "both.py": "import tensorflow, torch\ndef train(ctx): return 0.5\n",
    "in_a_circle.py": "import in_a_circle, second\ndef train(ctx): return 0.5\n",
    "second.py": "import in_a_circle\n",
    "torchlike.py": "import torch_of_mine\ndef train(ctx): return 0.5\n",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("plain.py:train", "none"),
        ("with_torch:train", "pytorch"),
        ("within.train", "tensorflow"),
        ("by_helper.py:train", "tensorflow"),
        ("by_helper:train", "tensorflow"),
        ("both:train", "pytorch"),
        ("in_a_circle:train", "none"),
        ("torchlike:train", "none"),
        ("explr.examples.pytorch_example:train_model", "pytorch"),
        ("explr.examples.tensorflow_example:train_model", "tensorflow"),
        ("explr.examples.numpy_example:train_model", "none"),
    ],
)
def test_the_imports_of_a_training_decide(project: Path, target: str, name: str) -> None:
    before = set(sys.modules)
    assert imported_framework(target) == name
    assert imported_framework({"_target_": target, "scale": 2}) == name
    assert not {"plain", "with_torch", "within", "by_helper", "torch"} & (set(sys.modules) - before)


def test_a_missing_file_is_told(project: Path) -> None:
    with pytest.raises(TargetError, match="there is no file"):
        get_framework("auto", "nothing.py:train")


def test_a_function_that_was_given(project: Path) -> None:
    assert imported_framework(test_a_missing_file_is_told) == "none"
    assert imported_framework(partial(test_a_missing_file_is_told, None)) == "none"


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("def train(ctx): return 0.5", "none"),
        ("def train(ctx):\n    import torch\n    return torch.rand(1)", "pytorch"),
        (TF_NOTEBOOK, "tensorflow"),
    ],
)
def test_a_function_of_a_notebook(code: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import ModuleType

    notebook = ModuleType("notebook_without_a_file")
    monkeypatch.setitem(sys.modules, notebook.__name__, notebook)
    exec(code, vars(notebook))
    assert imported_framework(vars(notebook)["train"]) == name
