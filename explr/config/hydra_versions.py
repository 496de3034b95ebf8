"""What Hydra 1.3 and Hydra 1.4 spell differently; no other module asks for the version.

Hydra 1.4 has a whitelist of what `instantiate` and logging may call; Hydra 1.3 calls what a config
names. Read in hydra-core 1.3.2, 1.3.8 and 1.4.0rc3.
"""

from __future__ import annotations

import logging.config
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import configure_log
from hydra.types import HydraContext, RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig

from explr.config.hydra_private import Hydra

HAS_WHITELIST = tuple(map(int, hydra.__version__.split(".")[:2])) >= (1, 4)
"""Whether this is Hydra 1.4."""

PLUGINS = "explr.plugins.{module}" if HAS_WHITELIST else "hydra_plugins.explr"
"""Module of a plugin's class: Hydra 1.3 takes plugins of the package `hydra_plugins` only."""


BROUGHT_BY_HYDRA_14 = {"hydra/sweeper": ("optuna",), "hydra/launcher": ("ray",)}
"""Hydra's own plugins of which only the releases for Hydra 1.4 accept the packages of explr: those
for Hydra 1.3 want Optuna below 3 and cloudpickle below 3."""


def needs_hydra_14(group: str, options: Sequence[str]) -> str:
    """The end of a sentence about options that do not exist: Hydra 1.4 would bring them.

    Args:
        group: a config group.
        options: what was chosen of it.

    Returns:
        Empty if Hydra 1.4 would not, or is installed.
    """
    if HAS_WHITELIST or not {*options} & {*BROUGHT_BY_HYDRA_14.get(group, ())}:
        return ""
    return (
        f"; explr runs Hydra's own with Hydra 1.4, and this is {hydra.__version__}: "
        "pip install 'explr-train[hydra14]' installs them"
    )


def plugin(module: str, name: str) -> dict[str, Any]:
    """How the node of a plugin begins: Hydra makes the plugin, and nothing that stands in its node.

    Args:
        module: its module in `explr.plugins`.
        name: its class.
    """
    target = {"_target_": f"{PLUGINS.format(module=module)}.{name}"}
    return target if HAS_WHITELIST else target | {"_recursive_": False}


def store(name: str, node: Any, group: str | None, package: str | None = None) -> None:
    """Put a node into Hydra's config store, in place of an earlier one."""
    replace: dict[str, Any] = {"replace": True} if HAS_WHITELIST else {}
    ConfigStore.instance().store(
        name, node, group=group, package=package, provider="explr", **replace
    )


def store_missing(nodes: Mapping[str, Any], group: str) -> None:
    """Put those nodes into a group of Hydra's config store whose names it does not have yet."""
    known = ConfigStore.instance()
    there = known.list(group) if known.get_type(group) is ObjectType.GROUP else []
    for name, node in nodes.items():
        if f"{name}.yaml" not in there:
            store(name, node, group)


def trusting(targets: Any, reset: bool = False) -> AbstractContextManager[None]:
    """Let `instantiate` call these targets within the block; Hydra 1.3 calls all.

    Args:
        targets: names of callables, `*` at their end stands for anything; see Hydra's
            `execution_whitelist`.
        reset: no others than these.
    """
    if not HAS_WHITELIST:
        return nullcontext()
    from hydra.utils import execution_whitelist

    block: AbstractContextManager[None] = execution_whitelist(targets, reset=reset)
    return block


def trusted_by(context: HydraContext) -> Any:
    """The targets that an app trusts."""
    return getattr(context, "execution_whitelist", None)


def make(node: dict[str, Any], trusted: Sequence[str]) -> Any:
    """What `instantiate` makes of a node whose `_target_` is one of the trusted ones."""
    more: dict[str, Any] = {"_execution_whitelist_": trusted} if HAS_WHITELIST else {}
    return instantiate(node, **more)


def changes_folder(config: DictConfig) -> bool:
    """Whether a job works in its own folder; in Hydra 1.3, apps without `version_base` do."""
    chosen = config.hydra.job.chdir
    if chosen is None and not HAS_WHITELIST:
        from hydra import version

        base: Any = version
        chosen = not base.base_at_least("1.2")
    return bool(chosen)


def set_up_log(config: DictConfig, context: HydraContext) -> None:
    """Set up logging as a job's config has it."""
    known: tuple[Any, ...] = (trusted_by(context),) if HAS_WHITELIST else ()
    configure_log(config.hydra.job_logging, config.hydra.verbose, *known)


def configure_logging(config: dict[str, Any], context: HydraContext) -> None:
    """Configure logging from a dictionary, as Hydra does for a job.

    The public `configure_log` requires a root logger in the config, and replaces the handlers of
    the one there is.
    """
    if HAS_WHITELIST:
        from explr.config.hydra_private import configure_trusted_logging

        configure_trusted_logging(config, trusted_by(context))
    else:
        logging.config.dictConfig(config)


def load_logging() -> None:
    """Import what `set_up_log` imports when it is called."""
    if HAS_WHITELIST:
        from explr.config.hydra_private import load_trusted_logging

        load_trusted_logging()


def command(
    task: Callable[[DictConfig], Any], path: str, name: str, trusted: Sequence[str]
) -> Callable[[], Any]:
    """A task as an app with Hydra's command line.

    Args:
        task: called with the composed config.
        path: the config tree.
        name: the primary config.
        trusted: targets that it may instantiate.
    """
    more = {"execution_whitelist": trusted} if HAS_WHITELIST else {"version_base": "1.3"}
    app: Callable[[], Any] = hydra.main(config_path=path, config_name=name, **more)(task)
    return app


def flags_first(line: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """A command line with its overrides at the end: Hydra 1.3 reads no other order.

    Args:
        line: the arguments.
        overrides: those of them that are overrides, in their order.
    """
    left = list(overrides)
    flags = [text for text in line if not (left and text == left[0] and left.pop(0))]
    return [*flags, *overrides]


def compose_sweep(app: Hydra, name: str | None, overrides: Sequence[str]) -> DictConfig:
    """Compose the config of a sweep as Hydra does when it runs one.

    Args:
        app: Hydra.
        name: the primary config.
        overrides: the overrides of the sweep.
    """
    # Hydra 1.4 else forgets what `hydra.searchpath` of the primary config adds.
    more: dict[str, Any] = {"activate_config_repository": True} if HAS_WHITELIST else {}
    return app.compose_config(name, list(overrides), run_mode=RunMode.MULTIRUN, **more)


def name_by_overrides(config: DictConfig) -> None:
    """Set `hydra.job.override_dirname` by the overrides of a job; in Hydra 1.4 it follows them.

    Args:
        config: the config of the job, with Hydra's part.
    """
    if HAS_WHITELIST:
        return
    form = config.hydra.job.config.override_dirname
    overrides = OverridesParser.create().parse_overrides([*config.hydra.overrides.task])
    lines = sorted(str(o.input_line) for o in overrides if o.key_or_group not in form.exclude_keys)
    config.hydra.job.override_dirname = form.item_sep.join(lines).replace("=", form.kv_sep)
