"""Who may import whom, and what must not be imported at start-up."""

from __future__ import annotations

import ast
import builtins
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import explr

ROOT = Path(explr.__path__[0])
MODULES = sorted(ROOT.rglob("*.py"))

FLOORS = (
    {"core"},
    {"utils"},
    {"config"},
    {"launching"},
    {"frameworks", "tracking", "tuning"},
    {"results"},
    {"runner"},
    {"sweep"},
    {"plugins"},
    {"api", "integrations", "runner/cli"},
)
"""The rooms from the lowest up: each may import itself and whatever lies below its floor."""

MOST_FILES = 16
"""Files that a folder may hold, `__init__.py` left aside."""

HEAVY = (
    *("torch", "tensorflow", "keras", "lightning", "transformers"),
    *("ray", "optuna", "mlflow", "pynvml", "pandas"),
)


LATER = (
    *HEAVY,
    *("numpy", "psutil", "rich", "click", "sqlite3", "multiprocessing", "asyncio", "http.client"),
    *("explr.launching.pool", "explr.sweep", "explr.results.sweep", "explr.results.table"),
    *("explr.tuning.study", "explr.tuning.storage", "explr.runner.cli.commands"),
    *("explr.tracking.server", "explr.tracking.shipping.sink", "explr.tracking.shipping.companion"),
    *("explr.tracking.mlflow.sink", "explr.tracking.mlflow.upload", "explr.tracking.mlflow.fluent"),
    *("explr.tracking.mlflow.serving", "explr.utils.readings"),
)
"""What no training waits for: each takes milliseconds of the start, or tenths of a second."""

TRAINING = f"""\
import sys


def train_model(ctx):
    print("imported", *[name for name in {LATER} if name in sys.modules])
    return 0.0
"""

ONLY_TRAINS = (
    *("explr.runner.task", "explr.runner.reporting", "explr.tuning.channel"),
    *("explr.tracking.run", "explr.tracking.client", "explr.tracking.null"),
)
"""What flags that only print do not need."""


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {module_of(path): path for path in MODULES}


def room_of(module: str) -> str:
    """The room of a module; the package itself and `__main__` have none."""
    parts = module.split(".")[1:]
    if parts[:2] == ["runner", "cli"]:
        return "runner/cli"
    return parts[0] if parts and parts[0] != "__main__" else ""


def floor_of(module: str) -> int:
    return next(i for i, rooms in enumerate(FLOORS) if room_of(module) in rooms)


def for_types_alone(tree: ast.Module) -> set[ast.AST]:
    """What stands under `if TYPE_CHECKING`, which no process imports."""
    checks = (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    return {inner for check in checks for one in check.body for inner in ast.walk(one)}


def imported(path: Path) -> Iterator[str]:
    """Every module of ours that a file imports, at its top or in a function."""
    tree = ast.parse(path.read_text())
    left_out = for_types_alone(tree)
    for node in ast.walk(tree):
        if node in left_out:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in NAMES)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names} & NAMES.keys()
            yield from names or ({node.module} & NAMES.keys())


@cache
def imports() -> dict[str, set[str]]:
    """What each of our modules imports of ours."""
    return {name: set(imported(path)) for name, path in NAMES.items()}


@pytest.mark.parametrize("module", [name for name in NAMES if room_of(name)])
def test_imports_go_one_way(module: str) -> None:
    for name in imports()[module]:
        if room_of(name) == room_of(module) or name == "explr":
            continue  # the package itself imports nothing: it is what users import
        assert floor_of(name) < floor_of(module), f"{module} imports {name}"


def test_no_module_imports_itself_by_way_of_others() -> None:
    left = {name: set(names) for name, names in imports().items()}
    while free := [name for name, names in left.items() if not names & left.keys()]:
        for name in free:
            del left[name]
    assert not left, "these modules, or what they import, form circles"


@pytest.mark.parametrize("folder", sorted({path.parent for path in MODULES}), ids=str)
def test_a_folder_holds_one_subject(folder: Path) -> None:
    files = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(files) <= MOST_FILES


def test_every_folder_is_installed() -> None:
    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["tool"]["setuptools"]
    listed = {*project["packages"], *project["package-dir"].values()}
    for folder in {path.parent for path in MODULES}:
        name = folder.relative_to(ROOT.parent).as_posix()
        assert {name, name.replace("/", ".")} & listed, name


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
        ["explr.api"],
        ["explr.sweep.sweep"],
        ["explr.integrations"],
    ],
    ids=lambda names: names[0],
)
def test_start_up_is_light(names: list[str], tmp_path: Path) -> None:
    code = (
        f"import sys, {', '.join(names)}\nprint(*[name for name in {HEAVY} if name in sys.modules])"
    )
    assert fresh(["-W", "error", "-c", code], tmp_path).split() == []


@pytest.mark.parametrize("way", ["command", "script"])
def test_a_tracked_training_begins_light(way: str, tmp_path: Path) -> None:
    settings = ["tracking.drain_timeout_s=0", "tracking.autostart=false"]
    (tmp_path / "training.py").write_text(TRAINING)
    call = ["-m", "explr", "train_model=training:train_model", *settings]
    if way == "script":
        (tmp_path / "script.py").write_text(
            f"{TRAINING}\n\nif __name__ == '__main__':\n"
            "    import explr\n\n    explr.main(train_model)\n"
        )
        call = ["script.py", *settings]
    assert "imported\n" in fresh(call, tmp_path)


@pytest.mark.parametrize("flags", [("--cfg", "job"), ("--help",), ("--info", "searchpath")])
def test_flags_that_print_import_no_training(flags: Sequence[str], tmp_path: Path) -> None:
    code = (
        "import atexit, sys\n"
        f"sys.argv = ['explr', *{flags}]\n"
        f"names = {(*HEAVY, *LATER, *ONLY_TRAINS)}\n"
        "atexit.register(lambda: print('imported', *[n for n in names if n in sys.modules]))\n"
        "from explr.runner.cli.main import main\n"
        "main()\n"
    )
    assert "imported\n" in fresh(["-c", code], tmp_path)


def fresh(call: Sequence[str], folder: Path) -> str:
    """What a fresh interpreter prints."""
    command = [sys.executable, *call]
    return subprocess.run(
        command, cwd=folder, env=os.environ, capture_output=True, text=True, check=True
    ).stdout


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
    # `from explr import *` must not hide a built-in function.
    assert {*explr.__all__, "range"} == declared == set(explr._HOMES)
    assert not {*explr.__all__} & {*dir(builtins)}
    assert explr.__all__ == sorted(explr.__all__, key=lambda name: (name.islower(), name))
    public = {name for name in dir(explr) if not name.startswith("_")}
    submodules = {path.stem for path in ROOT.iterdir()} | {"examples", "conf"}
    helpers = {"annotations", "import_module", "TYPE_CHECKING", "Any"}
    assert public - submodules - helpers == set(explr._HOMES)


@pytest.mark.parametrize("name", explr._HOMES)
def test_each_public_name_resolves_and_is_documented(name: str) -> None:
    value = getattr(explr, name)
    assert value.__name__ == name
    assert value.__doc__
    assert value.__module__ == explr._HOMES[name]


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'explr' has no attribute 'nothing'"):
        _ = explr.nothing  # type: ignore[attr-defined]
