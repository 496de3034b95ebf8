import shutil
from pathlib import Path
from typing import Any

import pytest

from explr.core.errors import UsageError
from explr.runner.cli.sync import sync_journals
from explr.tracking.journal.pending import entries

pytestmark = pytest.mark.mlflow_versions

MLMODEL = """\
artifact_path: model
flavors:
  python_function:
    loader_module: mine
signature:
  inputs: '[{"type": "double", "name": "x", "required": true}]'
  outputs: '[{"type": "double", "required": true}]'
"""


def versions(store: Any, name: str = "digits") -> list[Any]:
    return [v for v in store.client.search_model_versions() if v.name == name]


def test_a_model_becomes_a_version_with_an_alias_once(store: Any, kit: Any, tmp_path: Path) -> None:
    run = kit.begin(tmp_path / "run")
    (tmp_path / "run" / "weights.pt").write_bytes(b"12345")
    run.register("digits", tmp_path / "run" / "weights.pt", "val_loss 0.5")
    run.close("FINISHED")
    kit.ship()
    for _ in range(2):  # replays
        kit.replay(store, run)
    (version,) = versions(store)
    found = store.run()
    assert (version.run_id, version.description) == (found.info.run_id, "val_loss 0.5")
    assert store.artifacts(found)["model/weights.pt"] == 5
    assert version.source == f"{found.info.artifact_uri}/model"
    assert store.client.get_model_version_by_alias("digits", "best").version == version.version
    again = kit.begin(tmp_path / "again")
    again.register("digits", tmp_path / "run" / "weights.pt", "val_loss 0.25")
    again.close("FINISHED")
    kit.ship()
    assert len(versions(store)) == 2
    assert store.client.get_model_version_by_alias("digits", "best").version != version.version


def test_a_model_of_mlflows_own_keeps_its_signature(store: Any, kit: Any, tmp_path: Path) -> None:
    from mlflow.artifacts import download_artifacts
    from mlflow.models import get_model_info

    folder = tmp_path / "my model"
    folder.mkdir()
    (folder / "MLmodel").write_text(MLMODEL)
    run = kit.begin(tmp_path / "run")
    run.register("it's mine", folder, "")
    run.close("FINISHED")
    kit.ship()
    (version,) = versions(store, "it's mine")
    signature = get_model_info(download_artifacts(version.source)).signature
    assert signature is not None
    assert signature.inputs.input_names() == ["x"]


def test_the_model_of_a_trial_belongs_to_its_run(store: Any, kit: Any, tmp_path: Path) -> None:
    sweep = kit.begin(tmp_path / "sweep")
    trial = kit.begin(tmp_path / "sweep" / "0", parent=sweep.journal.path)
    (tmp_path / "sweep" / "0" / "best.keras").write_bytes(b"123")
    sweep.register("digits", tmp_path / "sweep" / "0" / "best.keras", "", trial.journal.path)
    trial.close("FINISHED")
    sweep.close("FINISHED")
    shutil.move(tmp_path / "sweep", tmp_path / "moved")  # to another machine, perhaps
    assert sync_journals(tmp_path / "moved") == 0
    (version,) = versions(store)
    assert version.run_id == store.run("0").info.run_id
    assert "model/best.keras" in store.artifacts(store.run("0"))


def test_a_model_that_is_gone_holds_up_nothing_else(store: Any, kit: Any, tmp_path: Path) -> None:
    run = kit.begin(tmp_path / "run")
    model = tmp_path / "run" / "weights.pt"
    model.write_bytes(b"1")
    run.register("digits", model, "")
    model.unlink()
    run.tracker.log_metric("loss", 0.5)
    run.close("FINISHED")
    kit.ship()
    assert store.status() == "FINISHED"
    assert store.rows(store.run(), "loss") == [(0, 0.5)]
    assert entries() == []
    assert "model digits" in run.position.missing
    model.write_bytes(b"1")
    assert sync_journals(tmp_path) == 0
    assert len(versions(store)) == 1


@pytest.mark.parametrize(("name", "part"), [("a/b", "no '/'"), (" ", "no '/'"), ("a", "not there")])
def test_what_cannot_be_registered_is_told_at_once(
    kit: Any, store: Any, tmp_path: Path, name: str, part: str
) -> None:
    run = kit.begin(tmp_path / "run")
    with pytest.raises(UsageError, match=part):
        run.register(name, tmp_path / "nothing", "")
