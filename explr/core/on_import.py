"""Applies settings to packages as soon as they are imported.

Importing a framework just to set its seed costs seconds and hundreds of MB, even for a training
that never uses it. So a setting is applied at once if its package is imported already, and
otherwise at the end of the import, before the training's next line runs.

One process may run many trainings. If each of them installed a hook, an import would apply the
values of all earlier trainings too. So there is one hook, which looks up the values when it fires.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

Action = Callable[[ModuleType], None]
"""Applies settings to the given module."""

_waiting: dict[str, dict[str, Action]] = {}
"""Pending actions by module and purpose, in the order in which they are applied."""


def apply_on_import(purpose: str, actions: Mapping[str, Action]) -> None:
    """Apply settings exactly once, each as soon as its module is imported.

    Args:
        purpose: what the settings are for; pending settings of earlier calls for the same purpose
            are dropped, for every module.
        actions: by full module name, the function to call with the module once it is imported, or
            now if it is imported already. The module is not bound in its parent yet: use the
            argument.

    Raises:
        Exception: an action raised it, in this call or in the `import` that applies the action.
    """
    for waiting in _waiting.values():
        waiting.pop(purpose, None)
    due: list[tuple[Action, ModuleType]] = []
    for name, action in actions.items():
        module = sys.modules.get(name)
        if module is None:
            _waiting.setdefault(name, {})[purpose] = action
            if _watch not in sys.meta_path:
                sys.meta_path.insert(0, _watch)
        else:
            due.append((action, module))
    for action, module in due:
        action(module)


class _Watch(MetaPathFinder):
    """Finds no module itself; runs the pending actions at the end of a module's import.

    `wrapt` has such a hook too, but it imports asyncio, which would slow down every start.
    """

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Ask the other finders for `name`, and wrap the result."""
        if name not in _waiting:
            return None
        for finder in sys.meta_path:
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = find(name, path, target) if find else None
            if spec is not None:
                _wrap(spec)
                return spec
        return None


def _wrap(spec: ModuleSpec) -> None:
    loader = spec.loader
    execute = getattr(loader, "exec_module", None)
    if loader is None or execute is None:
        return

    def exec_module(module: ModuleType) -> None:
        execute(module)
        for action in _waiting.pop(module.__name__, {}).values():
            action(module)

    # Set on the instance, which only this import uses, so that the type of the loader stays.
    loader.exec_module = exec_module  # type: ignore[method-assign]


_watch = _Watch()
