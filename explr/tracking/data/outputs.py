"""Reads the hashes that DVC keeps of data, from a `.dvc` file or a `dvc.lock`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from explr.core.errors import UsageError

KINDS = ("md5", "etag", "checksum")
"""Keys of the hash of an output; the second and third are those of data in a cloud or in HDFS."""


class Output(NamedTuple):
    """An output that DVC knows.

    Args:
        path: its path, relative to the file.
        hash: the hash of its content.
        kind: the key that DVC has it under.
        size: its size in bytes; None if DVC does not know it.
    """

    path: str
    hash: str
    kind: str
    size: int | None


def is_of_dvc(path: Path) -> bool:
    """Whether a path is that of a file in which DVC keeps hashes."""
    return path.suffix == ".dvc" or path.name == "dvc.lock"


def outputs_in(file: Path) -> list[Output]:
    """The outputs that a file of DVC's names, with their hashes.

    Args:
        file: a `.dvc` file, or a `dvc.lock` with the stages of a pipeline.

    Raises:
        UsageError: the file cannot be read, or has no hash of an output.
    """
    try:
        content = yaml.safe_load(file.read_bytes())
    except (OSError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UsageError(f"data.paths names {file}, which cannot be read: {reason}") from None
    found = [
        Output(str(out["path"]), str(out[kind]), kind, out.get("size"))
        for out in _outs(content)
        if "path" in out
        for kind in KINDS
        if out.get(kind)
    ]
    if not found:
        raise UsageError(
            f"data.paths names {file}, which has no hash of an output: `dvc add` or `dvc repro` "
            "writes it"
        )
    return found


def _outs(content: Any) -> Iterator[Mapping[str, Any]]:
    """The mappings of all outputs: at the root of a `.dvc` file, in each stage of a `dvc.lock`."""
    if not isinstance(content, Mapping):
        return
    stages = content.get("stages", content)
    for each in (content, *(stages.values() if isinstance(stages, Mapping) else ())):
        outs = each.get("outs") if isinstance(each, Mapping) else None
        yield from (out for out in outs or () if isinstance(out, Mapping))
