"""Who may import whom, and what must not be imported at start-up."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import explr

ROOT = Path(explr.__path__[0])
MODULES = sorted(ROOT.rglob("*.py"))

ALLOWED = {
    "core": {"core"},
    "utils": {"core", "utils"},
    "tracking": {"core", "utils", "tracking"},
    "tuning": {"core", "utils", "tuning"},
    "launching": {"core", "utils", "launching"},
    "frameworks": {"core", "utils", "frameworks"},
    "integrations": {"core", "utils", "frameworks", "integrations"},
    "results": {"core", "utils", "tracking", "tuning", "results"},
}
"""Rooms that each room may import; those that are not named wire the others."""

WIRING = {"runner", "plugins"}

HEAVY = (
    *("torch", "tensorflow", "keras", "lightning", "transformers"),
    *("ray", "optuna", "mlflow", "pynvml", "pandas"),
)


def room(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return parts[0] if len(parts) > 1 else ""


def imported(path: Path) -> Iterator[str]:
    """Every module of ours that a file imports, at its top or in a function."""
    package = ["explr", *path.relative_to(ROOT).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_what_it_may(path: Path) -> None:
    own = room(path)
    for name in imported(path):
        parts = name.split(".")
        if parts[0] != "explr" or len(parts) == 1 or own not in ALLOWED:
            continue  # the package itself imports nothing
        assert parts[1] in ALLOWED[own], f"{path} imports {name}"


def test_every_room_has_a_rule() -> None:
    assert {room(path) for path in MODULES} <= {*ALLOWED, *WIRING, ""}


def test_no_relative_imports() -> None:
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.ImportFrom) and node.level), path


def plugin_modules() -> list[str]:
    found = [point.module for point in entry_points(group="hydra.plugins")]
    return sorted({name for name in found if name.split(".")[0] == "explr"})


def test_the_plugins_are_declared() -> None:
    assert "explr.plugins.search_path" in plugin_modules()


@pytest.mark.parametrize(
    "names",
    [
        ["explr"],
        plugin_modules(),
        ["explr.runner.cli.main", "explr.runner.cli.app"],
        ["explr.runner.task"],
        ["explr.integrations"],
    ],
    ids=lambda names: names[0],
)
def test_start_up_is_light(names: list[str], tmp_path: Path) -> None:
    code = (
        f"import sys, {', '.join(names)}\nprint(*[name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env=os.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == []


def test_all_names_are_the_public_ones() -> None:
    tree = ast.parse((ROOT / "__init__.py").read_text())
    declared = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.If)
        for statement in node.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert set(explr.__all__) == declared == set(explr._HOMES)
    assert explr.__all__ == sorted(explr.__all__, key=lambda name: (name.islower(), name))
    public = {name for name in dir(explr) if not name.startswith("_")}
    submodules = {path.name for path in ROOT.iterdir()} | {"examples", "conf"}
    helpers = {"annotations", "import_module", "TYPE_CHECKING", "Any"}
    assert public - submodules - helpers == set(explr.__all__)


@pytest.mark.parametrize("name", explr.__all__)
def test_each_public_name_resolves_and_is_documented(name: str) -> None:
    value = getattr(explr, name)
    assert value.__name__ == name
    assert value.__doc__
    assert value.__module__ == explr._HOMES[name]


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'explr' has no attribute 'nothing'"):
        _ = explr.nothing  # type: ignore[attr-defined]
