"""A workshop for each test: trainings, a Hydra app, and a temporary EXPLR_HOME."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sweeping import Workshop


@pytest.fixture
def shop(tmp_path: Path, template: Path) -> Iterator[Workshop]:
    """Runs sweeps in `tmp_path`."""
    folder = tmp_path / "work"
    folder.mkdir()
    shop = Workshop(folder, tmp_path / "home", template)
    yield shop
    shop.close()
