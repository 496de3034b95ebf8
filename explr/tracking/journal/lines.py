"""How a journal spells events: one line each, which can be read without any other line.

A line of metrics is short, since trainings write millions of them: 14 characters of base64 that
hold a CRC-32 checksum and the time, then the step, and names and values as JSON. All other lines
are a checksum in 8 hexadecimal digits, a blank, and the event as JSON. The first version of the
format wrote metrics like that too.
"""

from __future__ import annotations

import json
import stat
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

VERSION = 2
"""Version of the format, recorded in the first event."""

HEAD = 14
"""Characters of the checksum (4 bytes) and the time (6 bytes) of metrics, in base64."""

ENDED = stat.S_ISVTX
"""The bit among a file's permissions that says that its run has ended; it permits nothing."""

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
_decode = json.JSONDecoder().decode


class Read(NamedTuple):
    """An event and where it ends in its file, in bytes."""

    event: dict[str, Any]
    end: int


def line_of(event: Mapping[str, Any]) -> bytes:
    """The line of an event.

    Args:
        event: its kind, its time in milliseconds since the epoch, and the fields of its kind.
    """
    if event["k"] == "metrics" and event.get("m"):
        return metrics_line(event["t"], event["s"], event["m"])
    text = _encode(event).encode("utf-8", "surrogatepass")
    return b"%08x %b\n" % (crc32(text), text)


def event_of(line: bytes) -> dict[str, Any] | None:
    """The event of a whole line; None if the line is damaged."""
    try:
        return _any_event(line) if line[8:10] == b" {" else _metrics_event(line)
    except ValueError:
        return None


def read_events(
    path: Path, offset: int = 0, on_damage: Callable[[int], None] = lambda end: None
) -> Iterator[Read]:
    """Read whole events from `offset` on, one at a time; damaged lines are skipped.

    What processes wrote after the end of the run was refused, and is not read.

    Args:
        path: a journal.
        offset: position in bytes where a line begins.
        on_damage: called with the end of each damaged line.
    """
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return  # the writer is still writing it, or died
            offset += len(line)
            event = event_of(line)
            if event is None:
                on_damage(offset)
                continue
            yield Read(event, offset)
            if event.get("k") == "end" and is_over(path, offset):
                return


def mark(path: Path, ended: bool = True) -> None:
    """Have the processes that a training has started be told that its run has ended.

    Some file systems cannot hold the mark. There, what is written after the end is uploaded if it
    comes before the upload has finished.
    """
    with suppress(OSError):
        mode = path.stat().st_mode
        path.chmod(mode | ENDED if ended else mode & ~ENDED)


def is_marked(path: Path) -> bool:
    """Whether a journal has the mark that its run has ended.

    Raises:
        OSError: there is no such file.
    """
    return bool(path.stat().st_mode & ENDED)


def is_over(path: Path, offset: int) -> bool:
    """Whether all that a journal has beyond an `end` was refused.

    Another `end` there is that of a training which had been taken for dead.

    Args:
        path: a journal.
        offset: where its `end` ends, in bytes.
    """
    return is_marked(path) and all(event["k"] != "end" for event, _ in read_events(path, offset))


def ends_a_line(path: Path, offset: int) -> bool:
    """Whether a line of a journal begins at an offset."""
    if offset == 0:
        return True
    with path.open("rb") as file:
        file.seek(offset - 1)
        return file.read(1) == b"\n"


_name = lru_cache(10_000)(_encode)


def metrics_line(time: int, step: int | None, values: Mapping[str, Any]) -> bytes:
    """The line of metrics.

    Args:
        time: milliseconds since the epoch.
        step: their step; None if they have none.
        values: their values by name, at least one.
    """
    body = "null" if step is None else f"{step:d}"
    for name, value in values.items():
        # For a finite number, `repr` is what JSON has, and much faster than the encoder.
        plain = type(value) is float and value - value == 0
        body += f",{_name(name)},{repr(value) if plain else _encode(value)}"
    data = body.encode("utf-8", "surrogatepass")
    head = time.to_bytes(6, "big", signed=True)
    check = crc32(data, crc32(head)).to_bytes(4, "big")
    return b2a_base64(check + head)[:HEAD] + data + b"\n"


def _metrics_event(line: bytes) -> dict[str, Any] | None:
    head, body = a2b_base64(line[:HEAD] + b"==", strict_mode=True), line[HEAD:-1]
    if int.from_bytes(head[:4], "big") != crc32(body, crc32(head[4:])):
        return None
    step, *cells = _decode(f"[{body.decode('utf-8', 'surrogatepass')}]")
    time = int.from_bytes(head[4:], "big", signed=True)
    values = dict(zip(cells[::2], cells[1::2], strict=True))
    return {"k": "metrics", "t": time, "s": step, "m": values}


def _any_event(line: bytes) -> dict[str, Any] | None:
    text = line[9:-1]
    if int(line[:8], 16) != crc32(text):
        return None
    event = _decode(text.decode("utf-8", "surrogatepass"))
    return event if isinstance(event, dict) else None
