"""Finds out at saving whether Keras can load a model again, in any process."""

from __future__ import annotations

import json
import random
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

CONTAINERS = ("Sequential", "Functional")
"""Models of Keras that are what their layers are."""


_RATE = re.compile(rb'("learning_rate": )[-+.\de]+')
"""What changes from epoch to epoch, although the parts stay the same."""


_sound: bytes | None = None
"""The config that was checked last, if it had no fault."""


def loading_fault(path: Path) -> str | None:
    """Why the model in a file could not be loaded, and what to do; None if it can be.

    Layers, losses, metrics and the optimizer are made from the file as `load_model` does it, but
    without weights: this costs milliseconds and no memory.

    Args:
        path: a file that `keras.Model.save` wrote.
    """
    global _sound
    with zipfile.ZipFile(path) as file:
        config = _RATE.sub(rb"\g<1>0.001", file.read("config.json"))
    fault = None if config == _sound else _fault_of(config)
    _sound = config if fault is None else None
    return fault


def _fault_of(config: bytes) -> str | None:
    drawn = random.getstate()  # Keras draws seeds for what it makes
    try:
        for where, node in _parts(json.loads(config), "the model"):
            try:
                keras.saving.deserialize_keras_object(_unbuilt(node))
            except Exception as error:  # noqa: BLE001 - classes of the user's raise what they like
                return f"{where} could not be loaded again: {_remedy(node, error)}"
    finally:
        random.setstate(drawn)
    return None


def _parts(node: Any, where: str) -> Iterator[tuple[str, Any]]:
    """The parts of a model that Keras makes one by one, each with what a person calls it."""
    if str(node.get("module")).startswith("keras") and node["class_name"] in CONTAINERS:
        for layer in node["config"]["layers"]:
            yield from _parts(layer, f"layer {layer['config'].get('name')}")
    else:
        yield where, node
    for name, value in (node.get("compile_config") or {}).items():
        yield f"{name} in compile()", value


def _unbuilt(node: Any) -> Any:
    """A part of a config without what would make weights."""
    if isinstance(node, list):
        return [_unbuilt(each) for each in node]
    if not isinstance(node, dict):
        return node
    return {
        key: _unbuilt(value)
        for key, value in node.items()
        if key not in ("build_config", "compile_config")
    }


def _remedy(node: Any, error: Exception) -> str:
    text = str(error).rpartition("Exception encountered: ")[2] or type(error).__name__
    decorate = "with @keras.saving.register_keras_serializable() where it is defined"
    written = json.dumps(node)
    if '"__lambda__"' in written or '{"value": ["' in written:  # the code of one in a layer
        return f"it holds a lambda; write a function with a name, and decorate it {decorate}"
    if "Could not locate" in text:
        name = text.partition("'")[2].partition("'")[0]
        return f"Keras does not know {name}; decorate it {decorate}"
    first = text.partition("\n")[0][:200]
    if isinstance(node, dict) and str(node.get("module")).startswith("keras"):
        return f"{first}; what it was given must be Keras's own, or be decorated {decorate}"
    return f"{first}; its get_config() must give every argument of its __init__"
