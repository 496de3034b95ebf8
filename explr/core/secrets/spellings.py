"""The ways in which a remembered secret may be spelled in a text: quoted, escaped, encoded."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterator
from itertools import chain
from urllib.parse import quote, quote_plus


def spellings(secret: str) -> list[str]:
    """A secret as it stands in texts of all kinds, the longest spelling first.

    Args:
        secret: the value itself.

    Returns:
        The value; its spelling in JSON, also within JSON, in Python, YAML, HTML, a shell, URLs and
        overrides of Hydra; and its base64 wherever it may stand in what was encoded.
    """
    encoded = (_base64(raw) for raw in {secret.encode(), json.dumps(secret)[1:-1].encode()})
    return sorted({*_spellings(secret), *chain(*encoded)}, key=len, reverse=True)


def split_over_lines(secret: str) -> re.Pattern[str] | None:
    """Finds a secret where YAML has broken it, after a blank or an escape; None if it has none."""
    if re.fullmatch(r"[\w.!#$%&()*+,/:;<=>?@^`{|}~-]*", secret, re.ASCII):
        return None
    spelled = sorted(set(_spellings(secret)), key=len, reverse=True)
    return re.compile("|".join(map(_breakable, spelled)))


def _breakable(text: str) -> str:
    parts = re.split(r"(\s+|\\(?:x..|u....|U.{8}|.))", text, flags=re.DOTALL)
    return "".join(
        r"(?:\\?\s|\\n)+\\?" if part.isspace()
        else re.escape(part) + (r"(?:\\\n\s*\\?)?" if at % 2 else "")
        for at, part in enumerate(parts)
    )  # fmt: skip


def _spellings(secret: str) -> Iterator[str]:
    yield secret
    for escaped in (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]):
        yield escaped
        yield json.dumps(escaped)[1:-1]
        yield re.sub(r"[^\x00-\x7f]", _as_yaml, escaped)
    yield repr(secret)[1:-1]
    yield repr(secret.encode())[2:-1]
    yield secret.replace("'", "\\'")
    yield secret.replace("'", "''")  # YAML
    yield secret.replace("'", "'\"'\"'")  # a shell
    yield html.escape(secret)
    yield from (quote(secret), quote(secret, safe=""), quote_plus(secret))
    yield re.sub(r"([\\()\[\]{}:=, \t])", r"\\\1", secret)  # an override


def _as_yaml(letter: re.Match[str]) -> str:
    code = ord(letter[0])
    return (
        f"\\x{code:02X}" if code < 256 else f"\\u{code:04X}" if code < 65536 else f"\\U{code:08X}"
    )


def _base64(raw: bytes) -> Iterator[str]:
    """What base64 of a longer text that holds `raw` surely holds, for each place in it."""
    for skipped in range(3):
        start = (skipped * 8 + 5) // 6  # letters that depend on what stands before
        end = (skipped + len(raw)) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            found = encode(bytes(skipped) + raw).decode()[start:end]
            if len(found) >= 10:  # a shorter one stands in many texts
                yield found
