"""The end of a run that waits for what is noted beside it, while its own process is gone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from explr.tracking.journal.pending import Liveness, entries


@pytest.mark.slow
def test_a_run_that_has_said_how_it_ended_did_not_die_without_a_word(
    store: Any, kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def is_awaited(*_: Any) -> bool:
        asked.append(1)
        return len(asked) < 6

    monkeypatch.setattr("explr.tracking.mlflow.mirror.is_awaited", is_awaited)
    monkeypatch.setattr(Liveness, "is_left", lambda *_: True)
    run = kit.begin(tmp_path / "run")
    run.close("FINISHED")
    kit.ship()
    assert len(asked) >= 6  # it was waited for
    assert store.run().info.status == "FINISHED"
    assert entries() == []
