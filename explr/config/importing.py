"""Importing the module that a training function lies in."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import sysconfig
import traceback
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from explr.core.errors import ExplrError, MissingDependencyError, TargetError, described
from explr.core.framework import frameworks


def extra_of(package: str) -> str | None:
    """The extra of `explr-train` that installs a package, by the name it is imported under."""
    if package == "ray":
        return "ray"
    return next((one.extra for one in frameworks() if package in one.packages), None)


def missing_dependency(package: str) -> MissingDependencyError:
    """The error for a package of one of our extras that is not installed."""
    return MissingDependencyError(
        f"{package} is not installed: pip install 'explr-train[{extra_of(package)}]' brings it"
    )


def no_module(name: str, target: str) -> TargetError:
    """The error for a module that does not exist."""
    return TargetError(
        f"train_model={target}: there is no module {name} "
        f"in {Path.cwd()} or among the installed packages"
    )


def no_file(file: Path, target: str) -> TargetError:
    """The error for a file that does not exist."""
    return TargetError(f"train_model={target}: there is no file {file}")


def import_module(name: str, target: str) -> ModuleType:
    """Import a module by its name.

    Args:
        name: full name of the module.
        target: how the configuration names the training function, for messages.

    Raises:
        TargetError: there is no such module, or it cannot be imported.
        MissingDependencyError: it needs a framework that is not installed.
    """
    main = sys.modules.get("__main__")
    if main is not None and getattr(main.__spec__, "name", None) == name:
        return main  # started with `python -m`; a second import doubles it
    try:
        with _importing(target):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise no_module(error.name, target) from None
        raise _import_error(error, target) from error
    except Exception as error:
        raise _import_error(error, target) from error


def import_file(path: Path, target: str) -> ModuleType:
    """Import a module by its file.

    The folder of the file becomes importable, as `python file.py` has it.

    Args:
        path: the file.
        target: how the configuration names the training function, for messages.

    Raises:
        TargetError: there is no such file, or it cannot be imported.
        MissingDependencyError: it needs a framework that is not installed.
    """
    file = Path(os.path.expanduser(path)).resolve()
    if not file.is_file():
        raise no_file(file, target)
    main = sys.modules.get("__main__")
    if main is not None and _is_file_of(main, file):
        return main  # the script that is running; a second import doubles it
    loaded = sys.modules.get(file.stem)
    if loaded is not None and _is_file_of(loaded, file):
        return loaded
    make_importable(file.parent)
    name = file.stem if loaded is None else f"{file.stem}_{zlib.crc32(bytes(file)):08x}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise TargetError(f"train_model={target}: {file} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with _importing(target):
            spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, Exception):
            raise _import_error(error, target) from error
        raise
    return module


_imported: list[str] = []
"""The training functions whose modules are being imported."""


@contextmanager
def _importing(target: str) -> Iterator[None]:
    _imported.append(target)
    try:
        yield
    finally:
        _imported.pop()


def refuse_in_import(call: str) -> None:
    """Refuse a call that would train or sweep while the module of a training is imported.

    Every process of a sweep imports this module, and would start the sweep again.

    Args:
        call: the function that is called.

    Raises:
        TargetError: it is called by such a module.
    """
    if _imported:
        raise _unguarded(_imported[-1], call)


def _unguarded(target: str, call: str) -> TargetError:
    return TargetError(
        f"train_model={target}: its module calls {call} when it is imported; write "
        '`if __name__ == "__main__":` above the call, and indent what follows'
    )


def _is_file_of(module: ModuleType, file: Path) -> bool:
    return Path(getattr(module, "__file__", None) or "-").resolve() == file


def _import_error(error: Exception, target: str) -> ExplrError:
    """What to say of an exception that a module raised while it was imported."""
    package = (getattr(error, "name", None) or "").partition(".")[0]
    if isinstance(error, ModuleNotFoundError) and extra_of(package):
        return missing_dependency(package)
    if isinstance(error, ExplrError):
        return error
    frames = traceback.walk_tb(error.__traceback__)
    if any(frame.f_globals.get("__name__") == "hydra.main" for frame, _ in frames):
        return _unguarded(target, "its @hydra.main function")
    text = described(error)
    if isinstance(error, ImportError):
        text = str(error)
    if not isinstance(error, SyntaxError):  # which tells its place itself
        last = traceback.extract_tb(error.__traceback__)[-1]
        if not last.filename.startswith("<frozen"):
            text += f" ({last.filename}, line {last.lineno})"
    return TargetError(f"train_model={target} cannot be imported: {text}")


def make_importable(folder: Path) -> None:
    """Let `train_model=my_module:function` find a module of a folder.

    It stands behind Python's own library: a file `queue.py` in it takes nobody's place.
    """
    if str(folder) in sys.path:
        return
    own = sysconfig.get_path("stdlib")
    is_own = [path.startswith(own) and "site-packages" not in path for path in sys.path]
    last = max((at for at, each in enumerate(is_own) if each), default=-1)
    sys.path.insert(last + 1, str(folder))
