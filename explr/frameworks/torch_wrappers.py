"""Names of weights in compiled and parallel models.

`torch.compile` puts `_orig_mod.` before the name of each weight, `DistributedDataParallel` and
`DataParallel` put `module.`. Saved weights have the names of the model itself, so that they load
whether it is wrapped or not: explr removes the prefix at saving, and wrapped models of its
processes accept names without it.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from types import ModuleType
from typing import Any

COMPILED = "_orig_mod"
PARALLEL = "module"
WRAPPERS = {
    "OptimizedModule": COMPILED,
    "DistributedDataParallel": PARALLEL,
    "DataParallel": PARALLEL,
}
"""The name of the model in its wrapper, by the wrapper's class."""

_parallel_models = False
"""Whether this process has had one: a model of one's own may call its only part `module` too."""


def accept_plain_names(torch: ModuleType) -> None:
    """Have wrappers that this process makes from now on load weights without their prefix."""
    torch.nn.modules.module.register_module_module_registration_hook(_on_part)


def _on_part(module: Any, name: str, part: Any) -> None:
    global _parallel_models
    if name is not None and WRAPPERS.get(type(module).__name__) == name:
        _parallel_models |= name == PARALLEL
        module.register_load_state_dict_pre_hook(partial(_add_prefix, f"{name}."))


def _add_prefix(
    added: str, wrapper: Any, state_dict: dict[str, Any], prefix: str, *rest: Any
) -> None:
    """Put the wrapper's prefix before the names of the weights, if they are the model's own."""
    names = [name.removeprefix(prefix) for name in state_dict if name.startswith(prefix)]
    if wrapper.state_dict().keys() >= set(names):
        return
    model = wrapper
    while inner := WRAPPERS.get(type(model).__name__):
        model = getattr(model, inner)
    if {_uncompiled(name) for name in model.state_dict()}.intersection(map(_uncompiled, names)):
        for name in names:
            state_dict[prefix + added + name] = state_dict.pop(prefix + name)


def _uncompiled(name: str) -> str:
    return name.replace(f"{COMPILED}.", "")


def unwrapped(state: Any) -> Any:
    """A mapping whose keys have no prefix of a wrapper; the same one if there was none."""
    if not state or not all(isinstance(name, str) for name in state):
        return state
    parallel = _parallel_models and all(
        name.removeprefix(f"{COMPILED}.").startswith(f"{PARALLEL}.") for name in state
    )

    def plain_name(name: str) -> str:
        name = _uncompiled(name)
        return name.removeprefix(f"{PARALLEL}.") if parallel else name

    plain: Any = type(state)()
    for name, value in state.items():
        plain[plain_name(name)] = value
    if plain.keys() == state.keys() or len(plain) < len(state):
        return state
    if isinstance(state, OrderedDict):  # PyTorch keeps there the versions of layers, by their names
        for attribute, value in vars(state).items():
            if isinstance(value, OrderedDict):
                names = [plain_name(f"{name}.").removesuffix(".") for name in value]
                value = OrderedDict(zip(names, value.values(), strict=True))
            setattr(plain, attribute, value)
    return plain
