"""What is private to Hydra, MLflow, OmegaConf, Optuna and Ray is used in one file a library."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

import explr

ROOT = Path(explr.__path__[0])

HOMES = {
    "hydra": "config/hydra_private.py",
    "hydra_plugins": "config/hydra_private.py",
    "mlflow": "tracking/mlflow/private.py",
    "omegaconf": "config/omegaconf_private.py",
    "optuna": "tuning/optuna_private.py",
    "ray": "sweep/ray/private.py",
}
"""The file that may use what is private to a library."""

HYDRA_CORE = {
    "config_loader": {"ConfigLoader"},
    "config_search_path": {"ConfigSearchPath"},
    "config_store": {"ConfigStore"},
    "global_hydra": {"GlobalHydra"},
    "hydra_config": {"HydraConfig"},
    "object_type": {"ObjectType"},
    "override_parser.overrides_parser": {"OverridesParser"},
    "override_parser.types": {
        "ChoiceSweep",
        "Glob",
        "IntervalSweep",
        "Override",
        "Quote",
        "QuotedString",
        "RangeSweep",
        "Transformer",
    },
    "plugins": {"Plugins"},
    "singleton": {"Singleton"},
    "utils": {"JobReturn", "JobStatus", "configure_log", "filter_overrides", "setup_globals"},
}
"""What Hydra's documentation and its own plugins use of `hydra.core`."""

UNDOCUMENTED = (
    "ray.tune.execution",
    "ray.tune.experiment.config_parser",
    "ray.tune.impl",
    "ray.tune.utils.util",
)
"""Modules that are private without an underscore."""

STANDARD = {"_exit", "_getframe", "_replace"}
"""Names of the standard library, which documents them."""

ENDS = {"_clear", "_run_exitfuncs", "_exit_function"}
"""Of `atexit` and `multiprocessing.util`: a fork has no public way to end as an interpreter."""

FILES = {path.relative_to(ROOT).as_posix(): path for path in sorted(ROOT.rglob("*.py"))}
NAME = re.compile(r"(hydra|hydra_plugins|mlflow|omegaconf|optuna|ray)(\.\w+)*\._\w+(\.\w+)*")


@cache
def parsed(file: str) -> ast.Module:
    return ast.parse(FILES[file].read_text())


def is_private(module: str, name: str) -> bool:
    """Whether an import from a library is of something private."""
    library, *parts = module.split(".")
    if library not in HOMES:
        return False
    if module.startswith("hydra.core"):
        return name not in HYDRA_CORE.get(module.removeprefix("hydra.core."), set())
    whole = f"{module}.{name}"
    return any(part.startswith("_") for part in (*parts, name)) or any(
        whole == one or whole.startswith(f"{one}.") for one in UNDOCUMENTED
    )


def private_imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if is_private(node.module, alias.name):
                    yield f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                module, _, name = alias.name.rpartition(".")
                if module and is_private(module, name):
                    yield alias.name


def private_names(tree: ast.Module) -> Iterator[str]:
    """Names of private modules in texts, such as loggers and `_target_`s."""
    for node in ast.walk(tree):
        value = getattr(node, "value", None) if isinstance(node, ast.Constant) else None
        if isinstance(value, str) and NAME.fullmatch(value):
            yield value


def defined(tree: ast.Module) -> set[str]:
    """Names of functions, classes and attributes that a file defines."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if is_own(node.value):
                found.add(node.attr)
        elif isinstance(node, ast.AnnAssign | ast.Assign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def is_own(node: ast.expr) -> bool:
    return ast.unparse(node) in ("self", "cls", "super()")


def private_attributes(tree: ast.Module) -> Iterator[str]:
    """Private attributes of objects that are not the file's own."""
    here = defined(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or not re.fullmatch("_[a-z].*[^_]", node.attr):
            continue
        ours = defined_anywhere() if is_own(node.value) else here
        if node.attr not in ours | STANDARD | ENDS:
            yield node.attr


@cache
def defined_anywhere() -> set[str]:
    return set().union(*map(defined, map(parsed, FILES)))


@pytest.mark.parametrize("file", FILES)
def test_private_imports_stand_in_one_file_a_library(file: str) -> None:
    for name in (*private_imports(parsed(file)), *private_names(parsed(file))):
        assert HOMES[name.split(".")[0]] == file, f"{file} uses {name}"


@pytest.mark.parametrize("file", sorted(FILES.keys() - set(HOMES.values())))
def test_private_attributes_of_others_are_left_alone(file: str) -> None:
    assert not set(private_attributes(parsed(file)))


@pytest.mark.parametrize("file", sorted(set(HOMES.values())))
def test_each_private_use_says_why_and_in_which_version(file: str) -> None:
    module = import_module("explr." + file.removesuffix(".py").replace("/", "."))
    assert re.search(r"Read in \w+.* \d+\.\d+\.\d+", module.__doc__ or "")
    for node in parsed(file).body:
        if isinstance(node, ast.FunctionDef):
            text = " ".join((ast.get_docstring(node) or "").split())
            assert re.search(r"Read in (Python )?\d+\.\d+", text), node.name


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("from hydra._internal.hydra import Hydra", ["hydra._internal.hydra.Hydra"]),
        ("from hydra.core.utils import JobRuntime", ["hydra.core.utils.JobRuntime"]),
        ("from hydra.core.utils import JobReturn", []),
        ("import ray._private.services", ["ray._private.services"]),
        ("from ray.tune.utils import util", ["ray.tune.utils.util"]),
        ("from ray.tune import Tuner", []),
        ("from optuna.trial import _trial", ["optuna.trial._trial"]),
        ("def load():\n    from omegaconf._utils import is_int", ["omegaconf._utils.is_int"]),
    ],
)
def test_the_scan_finds_imports(text: str, found: list[str]) -> None:
    assert list(private_imports(ast.parse(text))) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("study._stop_flag", ["_stop_flag"]),
        ("self._study._storage", ["_storage"]),
        ("self._file_path", ["_file_path"]),
        ("config.hydra.launcher._target_", []),
        ("os._exit(1)", []),
        ("class One:\n    _pid = 1\n\nother._pid", []),
    ],
)
def test_the_scan_finds_attributes(text: str, found: list[str]) -> None:
    assert [name for name in private_attributes(ast.parse(text)) if name != "_study"] == found
