"""Finding the training function that a configuration names."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from explr.core.errors import ExplrError, MissingDependencyError, TargetError
from explr.core.protocols import TrainFunction

EXTRAS = {"torch": "torch", "tensorflow": "tensorflow", "keras": "tensorflow", "ray": "ray"}
"""The extra of our distribution that brings a package, by the name it is imported under."""


def missing_dependency(package: str) -> MissingDependencyError:
    """The error for a package of one of our extras that is not installed."""
    extra = EXTRAS[package]
    return MissingDependencyError(
        f"{package} is not installed: pip install 'explr-train[{extra}]' brings it"
    )


def resolve_target(target: str | Mapping[str, Any]) -> TrainFunction:
    """Import the training function that `target` names.

    Args:
        target: `module:function`, `module.function`, `path/to/file.py:function`, or a mapping
            whose `_target_` is one of these and whose other keys are bound as keyword arguments.

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

    Raises:
        TargetError: it is not callable, or does not take exactly one argument.
    """
    if not callable(function):
        raise TargetError(f"train_model={name} is a {type(function).__name__}, not a function")
    try:
        inspect.signature(function).bind(object())
    except TypeError as error:
        raise TargetError(
            f"train_model={name} must be callable as train_model(ctx), but its signature is "
            f"{getattr(function, '__name__', name)}{inspect.signature(function)}: {error}"
        ) from None
    except ValueError:  # a builtin that does not tell its signature
        raise TargetError(f"train_model={name} does not tell its signature") from None
    return cast(TrainFunction, function)


def spell_target(function: Callable[..., Any]) -> str:
    """How a configuration names `function`, so that another process finds it too.

    Raises:
        TargetError: it is a lambda or is defined within another function.
    """
    name = function.__qualname__
    if not name.isidentifier():
        raise TargetError(
            f"train_model must be a function at the top level of a module, got {name}"
        )
    module = sys.modules.get(function.__module__)
    path = getattr(module, "__file__", None)
    if function.__module__ == "__main__" and path is not None:
        return f"{Path(path).resolve()}:{name}"
    return f"{function.__module__}:{name}"


def _bound(target: Mapping[str, Any]) -> Any:
    arguments = {str(k): v for k, v in target.items() if k != "_target_"}
    function = _locate(str(target["_target_"]))
    if inspect.isclass(function):
        return function(**arguments)
    return partial(function, **arguments) if arguments else function


def _locate(target: str) -> Any:
    path, colon, name = target.rpartition(":")
    if colon and path.endswith(".py"):
        return _attribute(_import_file(Path(path), target), name, target)
    if colon:
        return _attribute(_import_module(path, target), name, target)
    module, dot, name = target.rpartition(".")
    if not dot:
        raise TargetError(
            f"train_model={target} names no function: write module:function, module.function "
            "or path/to/file.py:function"
        )
    return _attribute(_import_module(module, target), name, target)


def _import_module(name: str, target: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise TargetError(
                f"train_model={target}: there is no module {error.name} "
                f"in {Path.cwd()} or among the installed packages"
            ) from None
        raise _foreign_import_error(error, target) from error
    except ImportError as error:
        raise _foreign_import_error(error, target) from error


def _import_file(path: Path, target: str) -> ModuleType:
    file = path.expanduser().resolve()
    if not file.is_file():
        raise TargetError(f"train_model={target}: there is no file {file}")
    main = sys.modules.get("__main__")
    if Path(getattr(main, "__file__", None) or "-").resolve() == file:
        return cast(ModuleType, main)  # the script that is running; a second import doubles it
    loaded = sys.modules.get(file.stem)
    if loaded is not None and Path(getattr(loaded, "__file__", None) or "-").resolve() == file:
        return loaded
    # Beside the file, as `python file.py` would have it, so that its own imports work.
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))
    name = file.stem if loaded is None else f"{file.stem}_{zlib.crc32(bytes(file)):08x}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise TargetError(f"train_model={target}: {file} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, ImportError):
            raise _foreign_import_error(error, target) from error
        raise
    return module


def _foreign_import_error(error: ImportError, target: str) -> ExplrError:
    package = (error.name or "").partition(".")[0]
    if isinstance(error, ModuleNotFoundError) and package in EXTRAS:
        return missing_dependency(package)
    return TargetError(f"train_model={target} cannot be imported: {error}")


def _attribute(module: ModuleType, name: str, target: str) -> Any:
    try:
        return getattr(module, name)
    except AttributeError:
        functions = [
            key
            for key, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module.__name__
        ]
        there = f"it has {', '.join(functions)}" if functions else "it has no functions"
        raise TargetError(
            f"train_model={target}: {module.__file__ or module.__name__} has no {name} ({there})"
        ) from None
