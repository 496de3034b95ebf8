from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from explr.config.target import check_train_function, resolve_target, spell_target
from explr.core.errors import MissingDependencyError, TargetError
from explr.core.protocols import TrainingContext

CONTEXT: Any = type("Context", (), {"hyperparameters": {"lr": 3.0}})()


@pytest.fixture(autouse=True)
def folder(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The project as working directory; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(project)
    monkeypatch.setattr(sys, "path", [str(project), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, "trainings", raising=False)
    before = set(sys.modules)
    yield project
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize(
    "target",
    [
        "trainings:train",
        "trainings.train",
        "trainings.py:train",
        "./trainings.py:train",
        {"_target_": "trainings:train"},
        {"_target_": "trainings.train", "_partial_": True},
    ],
)
def test_spellings(target: Any) -> None:
    function = resolve_target(target)
    assert getattr(function, "__name__", "") == "train"


def test_an_absolute_path_with_spaces(folder: Path) -> None:
    place = folder / "my folder"
    place.mkdir()
    (place / "helper.py").write_text("VALUE = 7.0\n")
    (place / "my script.py").write_text("import helper\ndef f(ctx): return helper.VALUE\n")
    assert resolve_target(f"{place}/my script.py:f")(CONTEXT) == 7.0


def test_two_files_of_one_name(folder: Path) -> None:
    for name, value in {"a": 1.0, "b": 2.0}.items():
        (folder / name).mkdir()
        (folder / name / "same.py").write_text(f"def f(ctx): return {value}\n")
    first, second = resolve_target("a/same.py:f"), resolve_target("b/same.py:f")
    assert (first(CONTEXT), second(CONTEXT)) == (1.0, 2.0)
    assert resolve_target("b/same.py:f") is second


def test_a_mapping_binds_arguments() -> None:
    bound = resolve_target({"_target_": "trainings:with_arguments", "scale": 2, "offset": 1})
    assert bound(CONTEXT) == 7.0


def test_a_mapping_makes_an_object_of_a_class() -> None:
    assert resolve_target({"_target_": "trainings.Trainer", "scale": 2})(CONTEXT) == 6.0


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("nowhere:train", ("no module nowhere", "{cwd}", "among the installed packages")),
        ("trainings.sub:train", ("no module trainings.sub",)),
        ("nowhere.py:train", ("no file {cwd}/nowhere.py",)),
        ("trainings:nothing", ("{cwd}/trainings.py has no nothing", "it has train, boom")),
        ("json:nothing", ("has no nothing",)),
        ("train", ("names no function", "path/to/file.py:function")),
        ("trainings:", ("names no function",)),
        (".trainings:train", ("names no function",)),
        ("trainings:CONSTANT", ("must be a function, but it is of type int",)),
        ("trainings:two_arguments", ("train_model(ctx)", "two_arguments(data, model)")),
        ("trainings:with_arguments", ("missing a required argument: 'scale'",)),
        ({"_target_": "trainings:with_arguments", "scal": 2}, ("does not take all of scal",)),
        ({"_target_": "trainings:Trainer", "scal": 2}, ("unexpected keyword argument 'scal'",)),
        ({"_target_": "trainings:CONSTANT", "scal": 2}, ("of type int",)),
    ],
)
def test_what_is_wrong_is_said(target: Any, words: tuple[str, ...]) -> None:
    with pytest.raises(TargetError) as caught:
        resolve_target(target)
    for word in words:
        assert word.format(cwd=os.getcwd()) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spelling", ["faulty:train", "faulty.py:train"])
@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import nonexistent_thing\n", "No module named 'nonexistent_thing' ({file}, line 1)"),
        ("x = 1\ny = undefined\n", "NameError: name 'undefined' is not defined ({file}, line 2)"),
        ("def f(:\n", "SyntaxError: invalid syntax (faulty.py, line 1)"),
    ],
)
def test_a_module_that_cannot_be_imported(
    folder: Path, spelling: str, source: str, words: str
) -> None:
    file = folder / "faulty.py"
    file.write_text(source)
    with pytest.raises(TargetError) as caught:
        resolve_target(spelling)
    assert str(caught.value) == (
        f"train_model={spelling} cannot be imported: {words.format(file=file)}"
    )
    assert "faulty" not in sys.modules


def test_a_framework_that_is_not_installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "needy.py").write_text("import torch\ndef f(ctx): return 1.0\n")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'explr-train\[torch\]'"):
        resolve_target("needy:f")


def test_a_builtin_without_signature() -> None:
    with pytest.raises(TargetError, match="does not tell its signature"):
        check_train_function(max, "max")


def top_level(ctx: TrainingContext) -> float:
    return 1.0


class Trainer:
    def __call__(self, ctx: TrainingContext) -> float:
        return 1.0


def test_spelling_a_function() -> None:
    assert spell_target(top_level) == f"{__name__}:top_level"


@pytest.mark.parametrize("function", [lambda ctx: 1.0, Trainer().__call__, Trainer()])
def test_what_no_other_process_could_find(function: Any) -> None:
    with pytest.raises(TargetError, match="at the top level of a module"):
        spell_target(function)
