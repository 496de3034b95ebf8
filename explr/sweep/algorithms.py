"""Samplers and pruners that a config names by `_target_`: checks their arguments, makes them."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from types import NoneType, SimpleNamespace, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

from hydra.errors import HydraException

from explr.config.hydra_versions import make
from explr.config.target import INSTANTIATE_KEYS
from explr.core.errors import ConfigError
from explr.sweep.space import SweepSpace
from explr.tuning.study import Study

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

OPTUNA = ("optuna.", "explr.tuning.")
"""Where the samplers and pruners lie that Optuna runs."""

RAY = "ray.tune."
"""Where those lie that only Ray Tune runs."""

GRID, ONE_OF_LISTS = "explr.tuning.grid.Grid", "optuna.samplers.GridSampler"
"""Grids: explr's has the ranges of the sweep, Optuna's the lists of its argument `search_space`."""

MOTPE = "optuna.samplers.MOTPESampler"
"""A sampler that Optuna no longer has."""

_OFFICIAL = "hydra_plugins.hydra_optuna_sweeper"
SAME_AS: Mapping[str, str] = {
    f"{_OFFICIAL}._impl.create_nsgaii_sampler": "optuna.samplers.NSGAIISampler",
    f"{_OFFICIAL}._impl.create_nsgaiii_sampler": "optuna.samplers.NSGAIIISampler",
    f"{_OFFICIAL}.config.raise_motpe_removed": MOTPE,
}
"""What hydra-optuna-sweeper puts in the place of some samplers."""

PLAIN: Mapping[Any, str] = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a text",
    NoneType: "null",
}
"""Types of single values in a config, as messages name them."""


def as_sampler(node: Mapping[str, Any]) -> dict[str, Any]:
    """The sampler that a config written for hydra-optuna-sweeper means.

    Args:
        node: its `_target_` and arguments.
    """
    target = SAME_AS.get(str(node.get("_target_")), node.get("_target_"))
    if target == ONE_OF_LISTS and not node.get("search_space"):
        return {"_target_": GRID, "_partial_": True, "seed": node.get("seed")}
    return {**node, "_target_": target} if target else dict(node)


def algorithm_faults(node: Mapping[str, Any], key: str, places: Sequence[str]) -> Iterator[str]:
    """What is wrong with a sampler or a pruner of a config.

    Args:
        node: its `_target_` and arguments; without any there is none.
        key: the node of the config that it stands in.
        places: how the names of those begin that may be used.
    """
    if not node:
        return
    target = str(node.get("_target_", ""))
    if not target:
        yield f"{key} has no _target_: name the class in {key}._target_"
    elif target == MOTPE:
        yield (
            f"{key}: the motpe sampler was removed in Optuna 4.0: write hydra/sweeper/sampler=tpe, "
            "which searches for several objectives too"
        )
    elif not target.startswith(tuple(places)):
        yield (
            f"{target} is Ray Tune's own: it needs tuner=ray"
            if target.startswith(RAY)
            else f"{key}._target_={target} is none of {', '.join(f'{each}*' for each in places)}"
        )
    else:
        module, _, name = target.rpartition(".")
        try:
            kind = getattr(import_module(module), name)
        except (ImportError, AttributeError):
            yield f"{key}._target_={target}: there is no such class"
            return
        given = {name: value for name, value in node.items() if name not in INSTANTIATE_KEYS}
        yield from argument_faults(kind, given, key, bool(node.get("_partial_")))
        for name, value in given.items():
            if _is_node(value):
                yield from algorithm_faults(value, f"{key}.{name}", places)


def argument_faults(
    function: Callable[..., Any], given: Mapping[str, Any], key: str, is_partial: bool = False
) -> Iterator[str]:
    """Each argument of a config that a function does not have, or that has another type there.

    Args:
        function: the function or class.
        given: its arguments by name.
        key: the node of the config that they stand in.
        is_partial: explr gives it the arguments that have no default.
    """
    parameters = inspect.signature(function).parameters
    named = {
        name: parameter
        for name, parameter in parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        and not (is_partial and parameter.default is parameter.empty)
    }
    for name, value in given.items():
        if name in named:
            hint = _hint(function, named[name])
            if not (_fits(value, hint) or (value is None and named[name].default is None)):
                yield f"{key}.{name} must be {_spelled(hint)}, got {value!r}"
    unknown = [f"{key}.{name}" for name in given if name not in named]
    if unknown and all(each.kind is not each.VAR_KEYWORD for each in parameters.values()):
        takes = ", ".join(named) or "nothing"
        yield f"there is no setting {', '.join(unknown)}; {function.__name__} takes {takes}"


def _is_node(value: Any) -> bool:
    return isinstance(value, Mapping) and "_target_" in value


def _hint(function: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """The type that a parameter is annotated with; Any if that cannot be found out."""
    if parameter.annotation is parameter.empty:
        return Any
    made = function.__init__ if inspect.isclass(function) else function
    names = getattr(inspect.unwrap(made), "__globals__", {})
    holder = SimpleNamespace(__annotations__={"it": parameter.annotation})
    try:
        return get_type_hints(holder, names)["it"]
    except NameError:  # only type checkers import what it names
        return Any


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value of a config has a type, as far as it is known."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, each) for each in get_args(hint))
    if origin is Literal:
        return value in get_args(hint)
    if type(value) not in PLAIN:
        return hint not in PLAIN
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint in PLAIN:
        return type(value) is hint
    # A single value is no object of another class, and nothing that can be called.
    return not (inspect.isclass(origin or hint) and hint is not object)


def _spelled(hint: Any) -> str:
    """A type for a message."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return " or ".join(map(_spelled, get_args(hint)))
    if origin is Literal:
        return " or ".join(map(str, get_args(hint)))
    return PLAIN.get(hint) or inspect.formatannotation(hint).rpartition(".")[2]


def optuna_pruner(node: Mapping[str, Any]) -> BasePruner | None:
    """Create a pruner of Optuna's; None never prunes.

    Args:
        node: the pruner's `_target_` and arguments.

    Raises:
        ConfigError: it refuses an argument, or is no pruner.
    """
    from optuna.pruners import BasePruner

    if not node:
        return None
    pruner = _optuna(node)
    if not isinstance(pruner, BasePruner):
        raise ConfigError([f"{node['_target_']} is no pruner"])
    return pruner


def optuna_sampler(node: Mapping[str, Any], space: SweepSpace, study: Study) -> BaseSampler | None:
    """Create a sampler of Optuna's; None uses Optuna's default.

    Args:
        node: the sampler's `_target_` and arguments.
        space: the search space.
        study: the study. The number of its trials changes the seed, so that a resumed sweep does
            not sample the same values again.

    Raises:
        ConfigError: it refuses an argument, cannot sample the ranges, or is no sampler.
    """
    from optuna.samplers import BaseSampler

    given = dict(node)
    if not given:
        return None
    if isinstance(given.get("seed"), int):
        given["seed"] += study.count()
    sampler = _optuna(given)
    if isinstance(sampler, partial):  # explr's grid
        sampler = sampler(space.branches, study.frozen())
    if not isinstance(sampler, BaseSampler):
        raise ConfigError([f"{node['_target_']} is no sampler"])
    return sampler


def _optuna(node: Mapping[str, Any]) -> Any:
    """Create the sampler or pruner of a `_target_`."""
    from optuna.exceptions import ExperimentalWarning

    places = tuple(f"{place}*" for place in OPTUNA)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # our configs choose these on purpose
        try:
            return make(dict(node), places)
        except (HydraException, TypeError, ValueError, AssertionError, ImportError) as error:
            said = str(error.__cause__ or error).strip() or type(error).__name__
            raise ConfigError([f"{node['_target_']}: {said.splitlines()[0]}"]) from None
