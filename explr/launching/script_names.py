"""What a config may name as `__main__.NAME`, for processes that do not run the script.

A job's process has another `__main__`. It asks for the script's own functions and classes there
when it instantiates a `_target_`, or pickles an object by the name of its class.
"""

from __future__ import annotations

import pickle
import sys
from typing import Any

from omegaconf import DictConfig, OmegaConf

from explr.launching.pickles import dumps


def script_names(config: DictConfig) -> bytes:
    """The functions and classes that are defined in `__main__`, by name, pickled by value.

    Args:
        config: names what is sent of a notebook, whose functions may hold on to anything.
    """
    main = sys.modules["__main__"]
    own = {
        name: value
        for name, value in vars(main).items()
        if callable(value) and getattr(value, "__module__", None) == "__main__"
    }
    if not hasattr(main, "__file__"):
        text = OmegaConf.to_yaml(config)
        own = {name: value for name, value in own.items() if f"__main__.{name}" in text}
    try:
        return dumps(own)
    except Exception:  # noqa: BLE001 - any object may raise its own error
        return dumps({k: v for k, v in own.items() if _travels(v)})


def find_in_main(names: bytes) -> None:
    """Have `__main__` of this process find such names; they are unpickled when one is needed."""
    found: dict[str, Any] = {}

    def find(name: str) -> Any:
        if not name.startswith("__") and not found:
            found.update(pickle.loads(names))
        if name not in found:
            raise AttributeError(f"module '__main__' has no attribute {name!r}")
        return found[name]

    setattr(sys.modules["__main__"], "__getattr__", find)  # noqa: B010 - modules may have one


def _travels(value: Any) -> bool:
    try:
        dumps(value)
    except Exception:  # noqa: BLE001 - as above
        return False
    return True
