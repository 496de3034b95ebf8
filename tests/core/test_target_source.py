"""Looking for a training function in its source: equal words, and nothing imported."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from explr.config.target import check_source, resolve_target
from explr.core.errors import TargetError

SOURCE = "import nowhere\n\n\ndef train(ctx):\n    return 1.0\n\n\nalias = train\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "heavy_training.py").write_text(SOURCE)
    package = tmp_path / "heavy_package"
    package.mkdir()
    (package / "__init__.py").write_text("import nowhere\n")
    (package / "inner.py").write_text(SOURCE)
    (tmp_path / "odd_training.py").write_text("globals()['train'] = print\n")
    (tmp_path / "torn_training.py").write_text("def train(:\n")
    return tmp_path


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "target",
    [
        "heavy_training:train",
        "heavy_training.train",
        "heavy_training.py:train",
        "heavy_training:alias",
        "heavy_package.inner:train",
        "odd_training:train",
        "torn_training:train",
        "json:dumps",
        "sys:exit",
        "explr.examples.pytorch_example:train_model",
        {"_target_": "heavy_training:train", "scale": 2},
    ],
)
def test_what_may_be_there_is_left_to_the_import(target: str) -> None:
    before = set(sys.modules)
    check_source(target)
    fresh = {name.partition(".")[0] for name in set(sys.modules) - before}
    assert not fresh & {"heavy_training", "heavy_package", "odd_training", "torch"}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "target", ["nowhere:train", "nowhere.py:train", "heavy_package.nowhere:train", "train", ":f"]
)
def test_what_is_not_there_is_told_as_the_import_would(target: str) -> None:
    with pytest.raises(TargetError) as caught:
        check_source(target)
    (Path("heavy_package") / "__init__.py").write_text("")
    with pytest.raises(TargetError) as imported:
        resolve_target(target)
    assert str(caught.value) == str(imported.value)


def test_a_function_that_is_not_there(folder: Path) -> None:
    words = rf"{folder / 'heavy_training.py'} has no tarin \(it has train\)"
    for target in ("heavy_training:tarin", "heavy_training.py:tarin"):
        with pytest.raises(TargetError, match=words):
            check_source(target)
