"""Settings for packages that may never be imported.

Importing a framework to set its seed costs seconds and hundreds of MB, which a training that
never uses it should not pay. So a setting is applied at once where its package is imported
already, and otherwise at the end of the import, before the training's next line runs.

One process may run many trainings: were each of them to bring a hook of its own, the import would
apply the values of all the trainings before as well. So there is one hook, and what it applies is
looked up when it fires.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

Action = Callable[[ModuleType], None]
"""Applies settings to the module that it is given."""

_waiting: dict[str, dict[str, Action]] = {}
"""What still waits: by module, then by purpose, in the order in which it is applied."""


def apply_on_import(purpose: str, actions: Mapping[str, Action]) -> None:
    """Apply settings exactly once, each as soon as its module is imported.

    Args:
        purpose: what the settings are for; settings that an earlier call left waiting for the
            same purpose are forgotten, whatever module they wait for.
        actions: by full name of a module, what to call with it once it is imported; at once,
            if it is. The module is not bound in its parent yet: use the one that is given.

    Raises:
        Exception: whatever an action raises; it leaves this call or the `import` that applies it.
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
    """Finds nothing itself; makes the import of a module that is waited for end in its actions.

    `wrapt` has such a hook as well, but imports asyncio with it, which every start would pay for.
    """

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Have the other finders find `name`, and wrap what they found."""
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

    # On the instance, which this import alone uses: what asks for the loader's type still gets it.
    loader.exec_module = exec_module  # type: ignore[method-assign]


_watch = _Watch()
