"""Finding the training function that a configuration names, by import or from its source."""

from __future__ import annotations

import ast
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError

from explr.config.advice import functions_in
from explr.config.importing import import_file, import_module, no_file, no_module
from explr.config.nodes import is_own_tree
from explr.config.omegaconf_private import ask_for_resolvers
from explr.core.errors import TargetError, UsageError
from explr.core.protocols import TrainFunction

INSTANTIATE_KEYS = frozenset({"_target_", "_partial_", "_recursive_", "_convert_"})
"""Keys of a `_target_` mapping that Hydra's `instantiate` reads; the others are arguments."""

EXAMPLES = "explr.examples."
"""How the bundled trainings begin, which register no resolvers."""


def resolve_target(target: str | Mapping[str, Any]) -> TrainFunction:
    """Import the training function that `target` names.

    Args:
        target: `module:function`, `module.function`, `path/to/file.py:function`, or a mapping
            whose `_target_` is one of these and whose other keys are bound as keyword arguments;
            if it names a class, the object that they make is called.

    Returns:
        A callable that takes a `TrainingContext`.

    Raises:
        TargetError: it is not found, is not callable, or does not take exactly one argument.
        MissingDependencyError: its module needs a framework that is not installed.
    """
    if isinstance(target, Mapping):
        function = _bound(target)
        name = str(target["_target_"])
    else:
        function = _locate(target)
        name = target
    return check_train_function(function, name)


def check_train_function(function: Any, name: str) -> TrainFunction:
    """Make sure that `function` can be called with a context.

    Args:
        function: what is to be called.
        name: how the configuration names it, for messages.

    Raises:
        TargetError: it is not callable, or does not take exactly one argument.
    """
    if not callable(function):
        kind = type(function).__name__
        raise TargetError(f"train_model={name} must be a function, but it is of type {kind}")
    try:
        signature = inspect.signature(function)
    except ValueError:  # a builtin
        raise TargetError(f"train_model={name} does not tell its signature") from None
    try:
        signature.bind(object())
    except TypeError as error:
        raise TargetError(
            f"train_model={name} must be callable as train_model(ctx), but its signature is "
            f"{getattr(function, '__name__', name)}{signature}: {error}"
        ) from None
    return cast(TrainFunction, function)


def spell_target(function: Callable[..., Any]) -> str:
    """How a configuration names `function`, so that another process finds it too.

    Args:
        function: a function at the top level of a module.

    Raises:
        TargetError: it is a lambda, is defined within another function, or has no name.
    """
    name = getattr(function, "__qualname__", None) or repr(function)
    if not name.isidentifier():
        raise TargetError(
            f"train_model must be a function at the top level of a module, got {name}"
        )
    module = sys.modules.get(function.__module__)
    path = getattr(module, "__file__", None)
    if function.__module__ == "__main__" and path is not None:
        spec = getattr(module, "__spec__", None)  # of `python -m package.module`
        return f"{Path(path).resolve() if spec is None else spec.name}:{name}"
    return f"{function.__module__}:{name}"


def _bound(target: Mapping[str, Any]) -> Any:
    name = str(target["_target_"])
    arguments = {str(k): v for k, v in target.items() if k not in INSTANTIATE_KEYS}
    function = _locate(name)
    if inspect.isclass(function):
        try:
            return function(**arguments)
        except TypeError as error:
            raise TargetError(f"train_model={name} cannot be made: {error}") from error
    if not arguments or not callable(function):
        return function
    bound = partial(function, **arguments)
    try:
        inspect.signature(bound)
    except ValueError:
        raise TargetError(
            f"train_model={name} does not take all of {', '.join(arguments)}: its signature is "
            f"{getattr(function, '__name__', name)}{inspect.signature(function)}"
        ) from None
    return bound


def _locate(target: str) -> Any:
    place, name = split_target(target)
    if place.endswith(".py"):
        return _attribute(import_file(Path(place), target), name, target)
    return _attribute(import_module(place, target), name, target)


def split_target(target: str) -> tuple[str, str]:
    """The module or the `.py` file that a training function lies in, and its name there.

    Raises:
        TargetError: `target` has not both.
    """
    if target.endswith(".py"):
        names = functions_in(Path(target))
        there = f"it has {', '.join(names)}" if names else "its training function is not named"
        raise TargetError(
            f"train_model={target} is a file ({there}): write "
            f"train_model={target}:{names[0] if names else 'FUNCTION'}"
        )
    place, colon, name = target.rpartition(":")
    if colon and place.endswith(".py"):
        return place, name
    if not colon:
        place, _, name = target.rpartition(".")
    if not place or not name or place.startswith("."):
        raise TargetError(
            f"train_model={target} names no function: write module:function, module.function "
            "or path/to/file.py:function"
        )
    return place, name


def no_function(target: str, place: str, name: str, functions: Sequence[str]) -> TargetError:
    """The error for a function that is not where it should be.

    Args:
        target: how the configuration names it.
        place: the module or its file.
        name: its name.
        functions: what is there.
    """
    there = f"it has {', '.join(functions)}" if functions else "it has no functions"
    return TargetError(f"train_model={target}: {place} has no {name} ({there})")


def _attribute(module: ModuleType, name: str, target: str) -> Any:
    try:
        return getattr(module, name)
    except AttributeError:
        functions = [
            key
            for key, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module.__name__
        ]
        place = getattr(module, "__file__", None) or module.__name__
        raise no_function(target, place, name, functions) from None


DYNAMIC = frozenset({"*", "__getattr__", "exec", "globals", "setattr", "vars"})
"""Names in a module whose content its source may not tell."""


def check_source(target: str | Mapping[str, Any]) -> None:
    """Look for a training function without importing anything.

    What the source does not show is checked by the import.

    Args:
        target: the function, as `resolve_target` takes it.

    Raises:
        TargetError: there is no such file, module or function.
    """
    file = source_of(target)
    if file is None:
        return
    text = _spelled(target)
    _, name = split_target(text)
    try:
        module = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    there = set(_names_in(module))
    if name not in there and not there & DYNAMIC:
        functions = [node.name for node in module.body if isinstance(node, ast.FunctionDef)]
        raise no_function(text, str(file), name, functions)


def source_of(target: str | Mapping[str, Any]) -> Path | None:
    """The file that a training function lies in; None for a module without a source.

    Args:
        target: the function, as `resolve_target` takes it.

    Raises:
        TargetError: there is no such file or module.
    """
    text = _spelled(target)
    place, _ = split_target(text)
    if place.endswith(".py"):
        file = Path(os.path.expanduser(place)).resolve()
        if not file.is_file():
            raise no_file(file, text)
        return file
    origin = _origin(place, text)
    return Path(origin) if origin is not None and origin.endswith(".py") else None


def _spelled(target: str | Mapping[str, Any]) -> str:
    return target if isinstance(target, str) else str(target["_target_"])


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


def _names_in(module: ast.Module) -> Iterator[str]:
    """Every name that appears in a module as one that may be its own."""
    for node in ast.walk(module):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.alias):
            yield node.asname or node.name.partition(".")[0]


def target_in(cfg: DictConfig) -> str | Mapping[str, Any]:
    """The training function that a config of explr's names, as `resolve_target` takes it."""
    node: Any = cfg.train_model
    target: Any = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    return cast(str | Mapping[str, Any], target)


def import_training(cfg: DictConfig) -> None:
    """Import the training of a config of explr's, whose module may register resolvers.

    Args:
        cfg: the config.

    Raises:
        InterpolationResolutionError: it cannot be imported.
    """
    target = _spelled(target_in(cfg))
    if target.startswith(EXAMPLES):
        return
    try:
        _locate(target)
    except UsageError as error:
        raise InterpolationResolutionError(str(error)) from error


def _import_own_training(cfg: Any) -> None:
    """See `import_training`; the training of another app is its own matter."""
    if isinstance(cfg, DictConfig) and is_own_tree(cfg):
        import_training(cfg)


ask_for_resolvers(_import_own_training)
