"""A workshop for each test: trainings, a Hydra app, and a temporary EXPLR_HOME."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore
from sweeping import Workshop


@pytest.fixture(autouse=True)
def _own_config_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test stores, jobs of other tests would get, in processes that lack its module."""
    store = ConfigStore.instance()
    monkeypatch.setattr(store, "repo", {**store.repo})


@pytest.fixture
def shop(tmp_path: Path, template: Path) -> Iterator[Workshop]:
    """Runs sweeps in `tmp_path`."""
    folder = tmp_path / "work"
    folder.mkdir()
    shop = Workshop(folder, tmp_path / "home", template)
    yield shop
    shop.close()
