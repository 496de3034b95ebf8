"""Earlier attempts at a run, as the journals in its folder tell of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from explr.tracking.journal import first_event, read_events


def journals_in(folder: Path) -> list[Path]:
    """The journals of a run's folder, the earliest first; one without a beginning is none."""
    begun = [(first_event(path), path) for path in folder.glob("journal-*.jsonl")]
    return [path for _, path in sorted((start["t"], path) for start, path in begun if start)]


def recorded_steps(journals: Iterable[Path]) -> frozenset[tuple[str, int]]:
    """Metrics by name and step that journals hold; those without a step do not count."""
    found: set[tuple[str, int]] = set()
    for journal in journals:
        for event, _ in read_events(journal):
            if event.get("k") == "metrics" and event["s"] is not None:
                found.update((name, event["s"]) for name in event["m"])
    return frozenset(found)
