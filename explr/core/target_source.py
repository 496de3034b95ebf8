"""Whether a training function is there, told from its source: importing it may take seconds."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from explr.core.importing import no_file, no_module
from explr.core.target import no_function, split_target

DYNAMIC = frozenset({"*", "__getattr__", "exec", "globals", "setattr", "vars"})
"""Names in a module whose content its source may not tell."""


def check_source(target: str | Mapping[str, Any]) -> None:
    """Look for a training function without importing anything.

    What cannot be told from the source is left to the import.

    Args:
        target: the function, as `resolve_target` takes it.

    Raises:
        TargetError: there is no such file, module or function.
    """
    text = target if isinstance(target, str) else str(target["_target_"])
    place, name = split_target(text)
    if place.endswith(".py"):
        file = Path(place).expanduser().resolve()
        if not file.is_file():
            raise no_file(file, text)
    else:
        origin = _origin(place, text)
        if origin is None or not origin.endswith(".py"):
            return
        file = Path(origin)
    try:
        module = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    there = set(_bound(module))
    if name not in there and not there & DYNAMIC:
        functions = [node.name for node in module.body if isinstance(node, ast.FunctionDef)]
        raise no_function(text, str(file), name, functions)


def _origin(module: str, target: str) -> str | None:
    """File of a module; None where none is known."""
    path = None
    spec: ModuleSpec | None = None
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        name = ".".join(parts[:depth])
        spec = _spec(name, path)
        if spec is None:
            raise no_module(name, target)
        path = spec.submodule_search_locations
    return spec.origin if spec is not None else None


def _spec(name: str, path: Any) -> ModuleSpec | None:
    loaded = sys.modules.get(name)
    if loaded is not None and loaded.__spec__ is not None:
        return loaded.__spec__
    found = (finder.find_spec(name, path) for finder in sys.meta_path)
    return next((spec for spec in found if spec is not None), None)


def _bound(module: ast.Module) -> Iterator[str]:
    """Every name that appears in a module as one that may be its own."""
    for node in ast.walk(module):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.alias):
            yield node.asname or node.name.partition(".")[0]
