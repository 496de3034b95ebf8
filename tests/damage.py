"""What may happen to a file: cut, emptied, filled with zeros."""

from __future__ import annotations

from collections.abc import Callable

Damage = Callable[[bytes], bytes]

DAMAGE: dict[str, Damage] = {
    "emptied": lambda content: b"",
    "front": lambda content: content[len(content) // 3 :],
    "middle": lambda content: content[: len(content) // 3] + content[len(content) // 2 :],
    "end": lambda content: content[: len(content) * 2 // 3],
    "zeros": lambda content: bytes(len(content)),
}
