"""The artifacts and models of a run that its sink does not have; stored beside the journal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from explr.core.errors import FileError
from explr.core.folders import read_json, replace_file

MOST_NAMED = 3
LONGEST_REASON = 120


class Item(NamedTuple):
    """A file to upload, a logged model, or a model to register.

    Args:
        source: its path, relative to the run's folder if it lies there.
        folder: folder among the run's artifacts, "" for the topmost one.
        model: name of the registered model, "" for a file.
        run: journal of the run that the model came from, a path like `source`.
        about: a line for the description of the model.
        logged: fields of the logged model that `source` is the folder of; None for anything else.
    """

    source: str
    folder: str = ""
    model: str = ""
    run: str = ""
    about: str = ""
    logged: Mapping[str, Any] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether a folder is one item, and not each of its files."""
        return bool(self.model) or self.logged is not None

    @property
    def name(self) -> str:
        """Its path among the artifacts, or the name of the model; a run has each name once."""
        if self.logged is not None:
            return self.source
        if self.model:
            return f"model {self.model} of {Path(self.run).name}"
        name = self.source.rpartition("/")[2]
        return f"{self.folder}/{name}" if self.folder else name


@dataclass
class Items:
    """What a sink does not have of a run, by name.

    Args:
        owed: what is still to be uploaded.
        refused: what the sink does not take, and what was deleted before its upload.
        reasons: why, for each of these.
    """

    owed: dict[str, Item] = field(default_factory=dict)
    refused: dict[str, Item] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def set_aside(self) -> set[str]:
        """Names of what the sink will not have."""
        return set(self.refused)

    def missing(self, most: int = MOST_NAMED) -> str:
        """A line about what the sink will not have; "" if it will have everything.

        Args:
            most: so many are named.
        """
        lines = [f"{name} ({self.reasons[name]})" for name in self.refused]
        if not lines:
            return ""
        more = f" and {len(lines) - most} more" if len(lines) > most else ""
        count = "1 artifact is" if len(lines) == 1 else f"{len(lines)} artifacts are"
        line = f"{count} missing: {', '.join(lines[:most])}{more}"
        return line.encode(errors="backslashreplace").decode()  # any terminal can show it

    def refuse(self, item: Item, reason: str) -> None:
        """Set aside what the sink will not have, unless it is asked for again."""
        self.refused[item.name] = item
        self.reasons[item.name] = reason[:LONGEST_REASON]


def read_items(journal: Path) -> Items | None:
    """What the sink does not have of a run; None if the file is damaged."""
    try:
        content = read_json(_items_file(journal)) or {}
        refused = [(Item(*fields), reason) for *fields, reason in content.get("refused", ())]
        owed = [Item(*fields) for fields in content.get("owed", ())]
        items = Items({item.name: item for item in owed})
    except (OSError, FileError, TypeError, ValueError):
        return None
    for item, reason in refused:
        items.refuse(item, reason)
    return items


def write_items(journal: Path, items: Items) -> None:
    """Store what the sink does not have of a run.

    Raises:
        OSError: it cannot be written beside the journal.
    """
    content: Mapping[str, Any] = {
        "owed": list(items.owed.values()),
        "refused": [(*item, items.reasons[name]) for name, item in items.refused.items()],
    }
    if any(content.values()):
        replace_file(_items_file(journal), content)
    else:
        _items_file(journal).unlink(missing_ok=True)


def _items_file(journal: Path) -> Path:
    return journal.with_suffix(".items")
