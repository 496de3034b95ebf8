from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from explr.core.on_import import apply_on_import

MakeModule = Callable[[str], None]


@pytest.fixture
def make_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeModule]:
    """Puts an empty module where it can be imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made: list[str] = []

    def make(name: str) -> None:
        (tmp_path / f"{name}.py").write_text("")
        importlib.invalidate_caches()
        made.append(name)

    yield make
    apply_on_import("test", {})
    apply_on_import("other", {})
    for name in made:
        sys.modules.pop(name, None)


def noting(notes: list[str], text: str) -> Callable[[ModuleType], None]:
    return lambda module: notes.append(f"{text} {module.__name__}")


def test_waits_for_the_import(make_module: MakeModule) -> None:
    make_module("late_one")
    notes: list[str] = []
    apply_on_import("test", {"late_one": noting(notes, "set")})
    assert notes == []
    importlib.import_module("late_one")
    assert notes == ["set late_one"]


def test_an_imported_module_is_set_at_once_each_time(make_module: MakeModule) -> None:
    make_module("early_one")
    importlib.import_module("early_one")
    notes: list[str] = []
    apply_on_import("test", {"early_one": noting(notes, "first")})
    apply_on_import("test", {"early_one": noting(notes, "second")})
    assert notes == ["first early_one", "second early_one"]


def test_only_the_newest_of_a_purpose_is_applied_and_only_once(make_module: MakeModule) -> None:
    make_module("replaced_one")
    notes: list[str] = []
    for text in ("first", "second", "third"):
        apply_on_import("test", {"replaced_one": noting(notes, text)})
    module = importlib.import_module("replaced_one")
    importlib.reload(module)
    assert notes == ["third replaced_one"]


def test_purposes_do_not_replace_one_another(make_module: MakeModule) -> None:
    make_module("shared_one")
    notes: list[str] = []
    apply_on_import("test", {"shared_one": noting(notes, "test")})
    apply_on_import("other", {"shared_one": noting(notes, "other")})
    importlib.import_module("shared_one")
    assert notes == ["test shared_one", "other shared_one"]


def test_what_an_earlier_call_left_waiting_is_forgotten(make_module: MakeModule) -> None:
    make_module("forgotten_one")
    notes: list[str] = []
    apply_on_import("test", {"forgotten_one": noting(notes, "stale")})
    apply_on_import("test", {})
    importlib.import_module("forgotten_one")
    assert notes == []


def test_an_error_of_a_setting_leaves_the_import(make_module: MakeModule) -> None:
    make_module("failing_one")

    def fail(module: ModuleType) -> None:
        raise RuntimeError("no such device")

    apply_on_import("test", {"failing_one": fail})
    with pytest.raises(RuntimeError, match="no such device"):
        importlib.import_module("failing_one")
