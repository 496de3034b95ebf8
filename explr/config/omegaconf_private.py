"""Every use of OmegaConf that it does not document.

Read in omegaconf 2.4.1rc1, and beside it in 2.3.1. On an upgrade this file is the one to read.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import lru_cache, wraps
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf import base as _base
from omegaconf._utils import get_omega_conf_dumper
from omegaconf.base import Container
from omegaconf.basecontainer import BaseContainer


class _Dumper(getattr(yaml, "CDumper", yaml.Dumper)):  # type: ignore[misc]
    """Quotes as OmegaConf does, with libyaml's speed."""


_Dumper.yaml_representers = get_omega_conf_dumper().yaml_representers.copy()


def to_yaml(content: Any) -> str:
    """Write plain data as `OmegaConf.to_yaml` writes a config.

    `OmegaConf.to_yaml` makes a config of the data first, which rejects a text such as `${`, and
    writes without libyaml. PyYAML alone leaves texts such as `1e-3` unquoted, which OmegaConf then
    reads as numbers. Read in 2.4.1rc1; 2.3.1 has the same, without the representers of paths.

    Args:
        content: mappings, sequences, texts, numbers and paths.
    """
    return str(
        yaml.dump(
            content,
            default_flow_style=False,
            allow_unicode=True,
            sort_keys=False,
            Dumper=_Dumper,
        )
    )


def pickled(config: DictConfig) -> bytes:
    """A config as bytes, which are copied four times as fast as by `copy.deepcopy`.

    OmegaConf documents that a config can be pickled, but not what is kept: types, flags and cached
    values of resolvers are. Read in 2.4.1rc1; 2.3.1 has the same.
    """
    try:
        return pickle.dumps(config)
    except Exception:  # noqa: BLE001 - a class of no module, for which each has its own error
        import cloudpickle

        return bytes(cloudpickle.dumps(config))


def copy_of(config: DictConfig) -> DictConfig:
    """A copy of a config; see `pickled`. Read in 2.4.1rc1; 2.3.1 has the same."""
    copy: DictConfig = pickle.loads(pickled(config))
    return copy


def copy_without(config: DictConfig, key: str) -> DictConfig:
    """A copy of a config without one of its keys; its dataclass and its flags stay.

    `OmegaConf.masked_copy` makes a plain dictionary of the root. To copy all and delete the key, as
    Hydra does, takes twice as long. Read in 2.4.1rc1; 2.3.1 has the same.
    """
    with _reduced(config, [name for name in config if name != key]):
        return copy_of(config)


def container_of(config: DictConfig, keys: Collection[Any]) -> dict[Any, Any]:
    """Some keys of a config as plain data, as they are written: nothing is resolved.

    `OmegaConf.to_container` converts the whole config, though two jobs differ in a few keys. Read
    in 2.4.1rc1; 2.3.1 has the same.
    """
    with _reduced(config, keys):
        content = OmegaConf.to_container(config, resolve=False, enum_to_str=True)
    assert isinstance(content, dict)
    return content


def mapping_in(config: DictConfig, key: Any) -> DictConfig | None:
    """The mapping that a config has as a key; None if it has something else there, as `${…}`.

    `OmegaConf.is_interpolation` and the like look the key up again. Read in 2.4.1rc1; 2.3.1 has
    the same.
    """
    node = vars(config)["_content"][key]
    return node if isinstance(node, DictConfig) and isinstance(node._content, dict) else None


@contextmanager
def _reduced(config: DictConfig, keys: Collection[Any]) -> Iterator[None]:
    """Have a config only some of its keys within the block. Read in 2.4.1rc1; so in 2.3.1."""
    content = vars(config)["_content"]
    vars(config)["_content"] = {key: content[key] for key in keys}
    try:
        yield
    finally:
        vars(config)["_content"] = content


_base.parse = lru_cache(maxsize=1024)(_base.parse)  # type: ignore[attr-defined]
"""Parses each interpolation once, and not whenever it is resolved, which takes a millisecond.

OmegaConf visits the trees and changes none of them. Read in 2.4.1rc1; 2.3.1 has the same.
"""


def ask_for_resolvers(load: Callable[[Any], None]) -> None:
    """Have a function called where a config uses a resolver that is not registered (yet).

    Interpolations are resolved when they are read, wherever that is, and OmegaConf has no hook for
    names that it does not know. Read in 2.4.1rc1; 2.3.1 has the same.

    Args:
        load: called with the whole config; may register the resolver.
    """
    evaluate = Container._evaluate_custom_resolver
    asked = False

    @wraps(evaluate)
    def evaluated(
        self: Container, key: Any, node: Any, inter_type: str, *rest: Any, **k: Any
    ) -> Any:
        nonlocal asked
        if not asked and inter_type not in BaseContainer._resolvers:
            asked = True
            try:
                load(self._get_root())
            finally:
                asked = False
        return evaluate(self, key, node, inter_type, *rest, **k)

    Container._evaluate_custom_resolver = evaluated  # type: ignore[method-assign]


@contextmanager
def resolvers_kept() -> Iterator[None]:
    """Keep the resolvers that the block forgets; of two with the same name, the block's one.

    Hydra's `Singleton.set_state` replaces all resolvers by those of another process, also those of
    modules that were imported here before. Read in 2.4.1rc1; 2.3.1 has the same.
    """
    before = BaseContainer._resolvers
    yield
    BaseContainer._resolvers = {**before, **BaseContainer._resolvers}


_has_resolver = OmegaConf.has_resolver


def _has_own_resolver(name: str) -> bool:
    """Whether a resolver was registered in this process; `OmegaConf.has_resolver` from here on.

    A worker process takes over the resolvers of the process that started it. A module that it
    imports, such as the script itself, would find its own ones registered already. One that is
    registered twice in a process stays an error. OmegaConf wraps each resolver in a function of a
    module of its own; pickled, that has globals of its own. Read in 2.4.1rc1; 2.3.1 has the same.
    """
    if not _has_resolver(name):
        return False
    wrapper = BaseContainer._resolvers[name]
    return wrapper.__globals__ is vars(sys.modules[wrapper.__module__])


OmegaConf.has_resolver = staticmethod(_has_own_resolver)  # type: ignore[method-assign]
