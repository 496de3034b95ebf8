"""Training state in the form that PyTorch's safe loader reads, and back.

`torch.load(weights_only=True)` reads tensors, numbers, texts, and plain lists and mappings. Other
values are written as plain ones of the same content, and a note in the file says what they were.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import torch
from omegaconf import DictConfig, ListConfig, OmegaConf

from explr.core.errors import CheckpointError
from explr.core.protocols import Hyperparameters
from explr.frameworks.torch_wrappers import unwrapped

Where = tuple[Any, ...]
"""The keys and indices that lead to a value."""
Note = tuple[str, Any]
"""What a value was: its kind, and what else its kind needs."""

NOTES = "explr_notes"
"""Attribute of the outermost mapping of a file: its own kind, and a note for each value that was
written as a plain one. `OrderedDict` is the one container whose attributes the safe loader reads.
"""

_LARGEST_BITS = 255 * 8 - 1
"""Of an int that the safe loader reads: its length in bytes is one byte."""

_NATIVE = frozenset(
    {type(None), bool, float, complex, str, bytes, bytearray}
    | {torch.Size, torch.dtype, torch.device, torch.layout}
)
_CONTAINERS = frozenset({dict, OrderedDict, Counter, list, tuple, set})

_PLAIN: dict[type, Callable[[Any], Any]] = {
    int: hex,
    Decimal: str,
    Fraction: str,
    UUID: str,
    type(Path()): str,
    datetime: datetime.isoformat,
    date: date.isoformat,
    time: time.isoformat,
    timedelta: lambda value: (value.days, value.seconds, value.microseconds),
    range: lambda value: (value.start, value.stop, value.step),
    frozenset: set,
}
"""How a value is written whose type alone says how to read it."""

_FACTORIES: dict[str | None, type | None] = {
    None: None,
    **{one.__name__: one for one in (int, float, str, list, dict, set)},
}
"""Default factories that need no code from the file."""

_TYPED: dict[str, Callable[[Any, Any], Any]] = {
    "int": lambda value, _: int(value, 16),
    "Decimal": lambda value, _: Decimal(value),
    "Fraction": lambda value, _: Fraction(value),
    "UUID": lambda value, _: UUID(value),
    type(Path()).__name__: lambda value, _: Path(value),
    "datetime": lambda value, _: datetime.fromisoformat(value),
    "date": lambda value, _: date.fromisoformat(value),
    "time": lambda value, _: time.fromisoformat(value),
    "timedelta": lambda value, _: timedelta(*value),
    "range": lambda value, _: range(*value),
    "frozenset": lambda value, _: frozenset(value),
    "deque": deque,
    "defaultdict": lambda value, factory: defaultdict(_FACTORIES[factory], value),
    "omegaconf": lambda value, _: OmegaConf.create(value),
    "array": lambda value, dtype: np.asarray(value).astype(dtype, copy=False),
    "dtype": lambda value, _: np.dtype(value),
}
"""How a value is read back, by the kind in its note."""


def to_plain(state: Any) -> Any:
    """Training state in types that the safe loader reads; tensors and arrays are not copied.

    The names of weights lose what `torch.compile` and parallel models put before them.

    Raises:
        CheckpointError: something in it could not be read back; the message names where it stands
            and what to give instead.
    """
    writer = _Writer()
    plain = writer.plain(state, ())
    if not writer.notes:
        return plain
    kind = type(plain).__name__
    held = (
        plain
        if kind == "OrderedDict"
        else OrderedDict(plain if kind == "dict" else [("state", plain)])
    )
    setattr(held, NOTES, (kind, writer.notes))
    return held


def from_plain(held: Any) -> Any:
    """The state that `to_plain` was given, from what it returned."""
    if not hasattr(held, NOTES):
        return held
    kind, notes = vars(held).pop(NOTES)
    if kind != "OrderedDict":
        held = dict(held) if kind == "dict" else held["state"]
    on_the_way = {where[:length] for where in notes for length in range(len(where) + 1)}
    return _typed(held, (), notes, on_the_way)


def _typed(value: Any, where: Where, notes: Mapping[Where, Note], on_the_way: set[Where]) -> Any:
    if where not in on_the_way:
        return value
    if isinstance(value, dict):
        for key in value:
            value[key] = _typed(value[key], (*where, key), notes, on_the_way)
    elif isinstance(value, (list, tuple)):
        inner = (_typed(one, (*where, i), notes, on_the_way) for i, one in enumerate(value))
        value = type(value)(inner)
    kind, more = notes.get(where, (None, None))
    return value if kind is None else _TYPED[kind](value, more)


class _Writer:
    """Walks through a state; containers that need no change stay the objects that they are."""

    def __init__(self) -> None:
        self.notes: dict[Where, Note] = {}
        self._met: dict[int, tuple[Any, Any]] = {}
        self._allowed = set(map(id, torch.serialization.get_safe_globals()))

    def plain(self, value: Any, where: Where) -> Any:
        kind = type(value)
        if _is_native(value) or id(kind) in self._allowed:
            return value
        if kind in _CONTAINERS:
            if id(value) not in self._met:
                self._met[id(value)] = (value, value)  # the one that it holds itself, if it does
                self._met[id(value)] = (value, self._container(value, where))
            return self._met[id(value)][1]
        if kind in _PLAIN:
            return self._noted(_PLAIN[kind](value), where, kind.__name__)
        if isinstance(value, np.generic):
            number = value.item()
            if type(number) in _NATIVE or type(number) is int:
                return number
        elif kind in (np.ndarray, np.memmap):
            return self._array(value, where)
        elif isinstance(value, np.dtype) and value.names is None:
            return self._noted(value.str, where, "dtype")
        elif kind is deque:
            return self._noted(list(value), where, "deque", value.maxlen)
        elif kind is defaultdict:
            name = getattr(value.default_factory, "__name__", None)
            if _FACTORIES.get(name, value) is value.default_factory:
                return self._noted(dict(value), where, "defaultdict", name)
        elif isinstance(value, (DictConfig, ListConfig)):
            return self._noted(OmegaConf.to_container(value), where, "omegaconf")
        elif isinstance(value, Hyperparameters):
            return self.plain(dict(value), where)
        elif isinstance(value, tuple) and hasattr(value, "_fields"):
            return self.plain(tuple(value), where)
        raise _refused(value, where)

    def _noted(self, plain: Any, where: Where, kind: str, more: Any = None) -> Any:
        self.notes[where] = (kind, more)
        return self.plain(plain, where)

    def _array(self, value: np.ndarray[Any, Any], where: Where) -> Any:
        if value.dtype.kind in "US":
            return self._noted(value.tolist(), where, "array", value.dtype.str)
        if value.dtype.kind not in "biufc" or value.dtype.char in "gG":
            raise _refused(value, where)
        native = np.asarray(value, value.dtype.newbyteorder("="), order="C")
        tensor = torch.from_numpy(native if native.flags.writeable else native.copy())
        return self._noted(tensor, where, "array", value.dtype.str)

    def _container(self, value: Any, where: Where) -> Any:
        if isinstance(value, set):
            return self._unless_same(value, [self._key(one, where) for one in value])
        if not isinstance(value, dict):
            return self._unless_same(
                value, [self.plain(o, (*where, i)) for i, o in enumerate(value)]
            )
        value = unwrapped(value)
        keys = [self._key(key, where) for key in value]
        values = [
            self.plain(one, (*where, key)) for key, one in zip(keys, value.values(), strict=True)
        ]
        if _same(keys, value) and _same(values, value.values()):
            return value
        plain = type(value)()
        for key, one in zip(keys, values, strict=True):
            plain[key] = one  # the update() of a Counter counts
        if isinstance(value, OrderedDict):
            vars(plain).update(vars(value))
        return plain

    def _unless_same(self, old: Any, new: list[Any]) -> Any:
        return old if _same(new, old) else type(old)(new)

    def _key(self, key: Any, where: Where) -> Any:
        """A key of a mapping, or what a set holds."""
        if isinstance(key, tuple):
            return self._unless_same(key, [self._key(one, where) for one in key])
        if isinstance(key, np.generic):
            key = key.item()
        if _is_native(key):
            return key
        raise CheckpointError(
            f"{_name(where)} has {key!r} as a key or in a set, and a {_kind(key)} there could not "
            "be read back: give a text or a number"
        )


def _is_native(value: Any) -> bool:
    """Whether the safe loader reads a value that is no container."""
    kind = type(value)
    if kind is int:
        return bool(value.bit_length() <= _LARGEST_BITS)
    return kind in _NATIVE or isinstance(value, torch.Tensor)


def _same(new: Any, old: Any) -> bool:
    return all(one is other for one, other in zip(new, old, strict=True))


def _name(where: Where) -> str:
    """How a person writes where a value stands, such as optimizer.param_groups[0].lr."""
    parts = (f".{key}" if isinstance(key, str) else f"[{key!r}]" for key in where)
    return "".join(parts).removeprefix(".") or "the state"


def _kind(value: Any) -> str:
    kind = type(value)
    home = "" if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}."
    return f"{home}{kind.__qualname__}"


def _refused(value: Any, where: Where) -> CheckpointError:
    return CheckpointError(
        f"the checkpoint could not be read back, because {_name(where)} is a {_kind(value)}: "
        f"{_remedy(value)}"
    )


def _remedy(value: Any) -> str:
    if isinstance(value, type) or (not hasattr(value, "__dict__") and callable(value)):
        return "leave it out, or give its name"
    if isinstance(value, np.random.Generator):
        return "give its bit_generator.state"
    for method in ("state_dict", "get_state", "getstate"):
        if callable(getattr(value, method, None)):
            return f"give its {method}()"
    if isinstance(value, Enum):
        return "give its value"
    if dataclasses.is_dataclass(value):
        return "give dataclasses.asdict(…) of it"
    for base in (dict, list, tuple, set, str, int, float, Mapping):
        if isinstance(value, base):
            return f"give {'dict' if base is Mapping else base.__name__}(…) of it"
    if isinstance(value, np.ndarray):
        return "give its tolist()"
    if isinstance(value, np.generic):
        return "give float(…) or str(…) of it"
    if callable(value):
        return "leave it out, or give its name"
    return "give what it holds, as tensors, numbers, texts, and lists and mappings of them"
