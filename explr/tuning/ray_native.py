"""Search algorithms of Ray Tune's own, each by the library behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from explr.core.errors import ConfigError, MissingDependencyError
from explr.tuning.ray_domains import ray_domains, within
from explr.tuning.ray_search import METRIC
from explr.tuning.search_space import SearchSpace

NATIVE = "ray.tune.search."
"""How the `_target_` of a search algorithm of Ray's begins."""


def is_native(node: Mapping[str, Any]) -> bool:
    """Whether a sampler's node names a search algorithm of Ray's."""
    return str(node.get("_target_", "")).startswith(NATIVE)


class NativeSearch:
    """Has a search algorithm of Ray's choose the parameters; see `ray_search.Suggest`.

    Args:
        node: the algorithm, as a `_target_` and its arguments.
        space: the ranges.
        directions: `minimize` or `maximize` for each objective.

    Raises:
        ConfigError: there is no such algorithm, or it cannot search for this.
        MissingDependencyError: the library behind it is not installed.
    """

    def __init__(
        self, node: Mapping[str, Any], space: SearchSpace, directions: Sequence[str]
    ) -> None:
        target = str(node["_target_"])
        if len(directions) > 1:
            raise ConfigError([f"tuner.sampler: {target} searches for one objective"])
        given = {key: value for key, value in node.items() if key != "_target_"}
        module, _, name = target.rpartition(".")
        try:
            self._searcher = getattr(import_module(module), name)(**given)
        except (AssertionError, ImportError) as error:
            raise MissingDependencyError(f"tuner.sampler: {target}: {error}") from None
        except (AttributeError, TypeError, ValueError) as error:
            raise ConfigError([f"tuner.sampler: {target}: {error}"]) from None
        mode = "min" if directions[0] == "minimize" else "max"
        self._searcher.set_search_properties(METRIC, mode, ray_domains(space))
        self._space = space

    def suggest(self, suggestion: str) -> dict[str, Any] | None:
        """See `Suggest.suggest`."""
        params = self._searcher.suggest(suggestion)
        if params is None or params == self._searcher.FINISHED:
            return None
        return within(self._space, params)

    def complete(self, suggestion: str, value: float | None) -> None:
        """See `Suggest.complete`."""
        result = None if value is None else {METRIC: value}
        self._searcher.on_trial_complete(suggestion, result, error=value is None)
