"""Finding the framework that a configuration names, or that a training imports."""

from __future__ import annotations

import importlib.util
from typing import Any

from explr.config.importing import missing_dependency
from explr.core.errors import ConfigError
from explr.core.framework import AUTO, REGISTERED, Framework, registered
from explr.frameworks.detect import imported_framework


def choose_framework(name: str, train_model: Any = None) -> Framework:
    """The framework of a training, whether it is installed or not.

    Args:
        name: a registered name, or `auto` for the framework that the training imports.
        train_model: the training function, or how the configuration names it; needed for `auto`.

    Raises:
        ConfigError: there is no framework of this name.
        TargetError: `name` is `auto` and the training function cannot be found.
    """
    if name == AUTO:
        name = imported_framework(train_model)
    if name not in REGISTERED:
        *others, last = AUTO, *REGISTERED
        raise ConfigError([f"framework.name must be {', '.join(others)} or {last}, got {name!r}"])
    return registered(name)


def get_framework(name: str, train_model: Any = None) -> Framework:
    """Like `choose_framework`, for a framework that is installed; it is not imported.

    Raises:
        ConfigError: there is no framework of this name.
        MissingDependencyError: its package is not installed; names the extra that installs it.
        TargetError: `name` is `auto` and the training function cannot be found.
    """
    framework = choose_framework(name, train_model)
    if framework.packages and importlib.util.find_spec(framework.packages[0]) is None:
        raise missing_dependency(framework.packages[0])
    return framework
