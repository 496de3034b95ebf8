"""Settings for packages that may never be imported.

Importing a framework to set its seed costs seconds and hundreds of MB, which a training that
never uses it should not pay. So a setting is applied at once where its package is imported
already, and otherwise at the end of the import, before the training's next line runs.

A hook cannot be taken back, and one process may run many trainings: were each of them to bring
hooks of its own, the import would apply the values of all the trainings before as well. So there
is one hook for a package, and what it applies is looked up when it fires.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import ModuleType

Action = Callable[[ModuleType], None]
"""Applies settings to the module that it is given."""

_waiting: dict[str, dict[str, Action]] = {}
"""What still waits: by module, then by purpose, in the order in which it is applied."""

_hooked: set[str] = set()
"""Modules with a hook that has not fired."""


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
            _hook(name)
        else:
            due.append((action, module))
    for action, module in due:
        action(module)


def _hook(name: str) -> None:
    if name in _hooked:
        return
    import wrapt

    _hooked.add(name)
    wrapt.register_post_import_hook(_imported, name)


def _imported(module: ModuleType) -> None:
    _hooked.discard(module.__name__)  # wrapt drops a hook when it fires
    for action in _waiting.pop(module.__name__, {}).values():
        action(module)
