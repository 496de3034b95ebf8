"""Which framework a training imports, found in its source: importing it may take seconds."""

from __future__ import annotations

import ast
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from functools import cache, partial
from importlib.machinery import PathFinder
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from explr.config.target import source_of
from explr.core.framework import NO_FRAMEWORK, frameworks
from explr.utils.console import is_installed


def imported_framework(train_model: Any) -> str:
    """Name of the framework that a training imports, itself or by modules of its own project.

    Args:
        train_model: the training function, or how the configuration names it.

    Returns:
        The first registered one that it imports, or else the first that a library which it
        imports trains with; `none` if there is neither.

    Raises:
        TargetError: there is no such file or module.
    """
    found = {name.partition(".")[0] for name in _all_imports(train_model)}
    signs = [
        *((one.packages, one.name) for one in frameworks()),
        *((one.libraries, one.name) for one in frameworks()),
    ]
    return next((name for packages, name in signs if found.intersection(packages)), NO_FRAMEWORK)


def _all_imports(train_model: Any) -> Iterator[str]:
    """Every module that a training imports; those of its own project are followed."""
    file, names = _start(train_model)
    beside = [str(file.parent)] if file is not None else []
    waiting = deque(names if file is None else _imports(file))
    seen: set[str] = set()
    while waiting:
        name = waiting.popleft()
        if name in seen:
            continue
        seen.add(name)
        yield name
        own = _own_file(name, beside)
        if own is not None:
            waiting.extend(_imports(own, name))


def _start(train_model: Any) -> tuple[Path | None, set[str]]:
    """The file that a training lies in; where it has none, names that the function uses."""
    if isinstance(train_model, (str, Mapping)):
        return source_of(train_model), set()
    while isinstance(train_model, partial):
        train_model = train_model.func
    owner = train_model if hasattr(train_model, "__code__") else type(train_model)
    module = sys.modules.get(owner.__module__)
    path = getattr(module, "__file__", None)
    if path is not None and path.endswith(".py"):
        return Path(path), set()
    call = getattr(train_model, "__code__", None) or getattr(owner.__call__, "__code__", None)
    return None, set(_used(call, vars(module) if module else {})) if call else set()


def _used(code: CodeType, known: Mapping[str, Any]) -> Iterator[str]:
    """Modules that a function imports, and those that its global names come from."""
    for name in code.co_names:
        yield name  # `import torch` within the function
        value = known.get(name)
        if isinstance(value, ModuleType):
            yield value.__name__
        elif hasattr(value, "__module__"):
            for kind in getattr(value, "__mro__", (value,)):
                yield str(kind.__module__)
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _used(inner, known)


def _imports(file: Path, module: str = "") -> set[str]:
    """Full names of the modules that a file imports anywhere, and of what it takes from them."""
    try:
        return _parsed_imports(file, module, file.stat().st_mtime_ns)
    except (OSError, SyntaxError, ValueError):
        return set()  # its import tells what is wrong


@cache
def _parsed_imports(file: Path, module: str, changed_ns: int) -> set[str]:
    """See `_imports`; cached for the trials of a sweep, until the file changes."""
    tree = ast.parse(file.read_bytes())
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            parts = [*(above if node.level else []), *([node.module] if node.module else [])]
            base = ".".join(part for part in parts if part)
            found.add(base)
            found.update(f"{base}.{alias.name}" for alias in node.names)
    return found - {""}


def _own_file(name: str, beside: list[str]) -> Path | None:
    """The source of a module of the user's own project; None for any other, and for no module."""
    if name.partition(".")[0] in {"explr", *sys.stdlib_module_names}:
        return None
    path: list[str] | None = None
    spec = None
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        places = [*beside, *sys.path] if path is None else path
        spec = PathFinder.find_spec(".".join(parts[:depth]), places)
        if spec is None:
            return None
        path = list(spec.submodule_search_locations or ())
    origin = spec.origin if spec is not None else None
    if origin is None or not origin.endswith(".py") or is_installed(origin):
        return None
    return Path(origin)
