"""All faults of a command line at once.

Hydra stops at the first override that it cannot apply. After it has, every override is tried by
itself, and what they compose to without the faulty ones is checked, so that all are named together.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    OmegaConfBaseException,
    ValidationError,
)

from explr.core.config import ExplrConfig
from explr.core.errors import ConfigError
from explr.runner.app import compose_with, hydra_app
from explr.runner.faults import short_message


def diagnose(error: Exception, arguments: Sequence[str]) -> Exception:
    """Turn Hydra's complaint about a command line into one that names every fault.

    Args:
        error: what Hydra raised.
        arguments: the command line.

    Returns:
        A `ConfigError`, or `error` itself where it is none of the configuration.
    """
    if not isinstance(error, (HydraException, OmegaConfBaseException)):
        return error
    args = get_args_parser().parse_intermixed_args(list(arguments))
    with hydra_app(args.config_dir) as app:

        def compose(overrides: list[str]) -> DictConfig:
            return compose_with(app, overrides, args.config_name, args.multirun)

        try:
            whole = compose([])
        except (HydraException, OmegaConfBaseException):
            return error
        faults: list[str] = []
        sound: list[str] = []
        for override in args.overrides:
            try:
                compose([override])
                sound.append(override)
            except (HydraException, OmegaConfBaseException) as fault:
                faults.append(_sentence(override, fault, whole, app))
        try:
            ExplrConfig.from_composed(compose(sound))
        except ConfigError as rest:
            faults += rest.faults
        except (HydraException, OmegaConfBaseException):
            return error  # each override is fine by itself: Hydra's own words say it best
    return ConfigError(faults) if faults else error


def _sentence(override: str, fault: Exception, whole: DictConfig, app: Hydra) -> str:
    key = override.partition("=")[0].lstrip("+~")
    cause = fault.__cause__
    if isinstance(fault, MissingConfigException):
        options = app.config_loader.get_group_options(key)
        if options:
            return f"{override}: there is no such option, {key} is one of {', '.join(options)}"
    if isinstance(cause, (ConfigKeyError, ConfigAttributeError)) or "to override" in str(fault):
        nearest = difflib.get_close_matches(key, _keys(whole, app), n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"+{override} adds a new key"
        return f"{override}: there is no setting or hyperparameter {key}; {hint}"
    if isinstance(cause, ValidationError):
        return f"{override}: {str(cause).splitlines()[0]}"
    return f"{override}: {' '.join(short_message(fault).splitlines())}"


def _keys(cfg: DictConfig, app: Hydra) -> list[str]:
    """Every key of a config, dotted, and every config group."""
    found = list(app.list_all_config_groups())

    def walk(node: DictConfig, prefix: str) -> None:
        for key in map(str, node):
            name = f"{prefix}{key}"
            found.append(name)
            if not OmegaConf.is_missing(node, key) and not OmegaConf.is_interpolation(node, key):
                child = node[key]
                if isinstance(child, DictConfig):
                    walk(child, f"{name}.")

    walk(cfg, "")
    return found
