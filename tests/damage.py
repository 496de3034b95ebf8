"""What may happen to a file: cut, emptied, filled with zeros."""

from __future__ import annotations

import json
from collections.abc import Callable

Damage = Callable[[bytes], bytes]


def _without_middle(content: bytes) -> bytes:
    """A file that lacks a part; more of it if that happens to be JSON still."""
    for end in range(len(content) // 2, len(content)):
        left = content[: len(content) // 3] + content[end:]
        try:
            json.loads(left)
        except ValueError:
            return left
    raise ValueError("every cut leaves valid JSON")


DAMAGE: dict[str, Damage] = {
    "emptied": lambda content: b"",
    "front": lambda content: content[len(content) // 3 :],
    "middle": _without_middle,
    "end": lambda content: content[: len(content) * 2 // 3],
    "zeros": lambda content: bytes(len(content)),
}
