"""`ctx.tracker.log_model`: what arrives in a store, once, and can be loaded from there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest
from kills import Killed, KilledAfter

from explr.core.errors import TrackingError
from explr.tracking.logged.models import FOLDER, check_names, flavor_of
from explr.tracking.mlflow.sink import MLflowSink
from explr.tracking.null import NullTracker
from explr.tracking.shipping.sink import LoggedModel, Refused

FRAMEWORKS = ("keras", "lightning", "sklearn", "torch", "transformers")
SCRIPT = Path(__file__).with_name("frameworks.py")


@pytest.fixture(scope="module")
def logged(template: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a training of all frameworks has seen, and the home of its store."""
    if lacking := [name for name in FRAMEWORKS if find_spec(name) is None]:
        pytest.skip(f"needs all frameworks, not installed: {', '.join(lacking)}")
    folder = tmp_path_factory.mktemp("frameworks")
    home = folder / "home"
    home.mkdir()
    shutil.copyfile(template, home / "mlflow.db")
    variables = {"EXPLR_HOME": str(home), "EXPLR_AUTOSTART": "0", "KERAS_BACKEND": "tensorflow"}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    environment |= {**variables, "MLFLOW_DISABLE_TELEMETRY": "true", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-5000:]
    seen = json.loads((folder / "seen.json").read_text())
    return {**seen, "folder": folder, "uri": f"sqlite:///{home}/mlflow.db", "printed": done.stderr}


def models_of(store: Any) -> dict[str, list[Any]]:
    """All logged models of a store by name, the oldest first."""
    experiments = [each.experiment_id for each in store.client.search_experiments()]
    found = sorted(
        store.client.search_logged_models(experiments), key=lambda m: m.creation_timestamp
    )
    names = dict.fromkeys(model.name for model in found)
    return {name: [model for model in found if model.name == name] for name in names}


@pytest.mark.slow
def test_models_arrive_with_all_that_mlflow_shows(logged: Any, kit: Any) -> None:
    store = kit.store_at(logged["uri"])
    run, models = store.run("run"), models_of(store)
    assert {name: len(found) for name, found in models.items()} == {
        **dict.fromkeys(("torch", "lightning", "keras", "pipeline", "parts"), 1),
        "sklearn": 2,
    }
    entries = [model for found in models.values() for model in found]
    assert {(str(m.status), m.source_run_id) for m in entries} == {("READY", run.info.run_id)}
    steps = {output.model_id: output.step for output in run.outputs.model_outputs}
    assert steps.keys() == {model.model_id for model in entries}
    (model,) = models["torch"]
    assert steps[model.model_id] == 2
    assert (model.model_type, model.params) == ("net", {"depth": "2", "lr": "0.1"})
    assert model.tags["mlflow.user"] == "me"
    assert (model.tags["stage"], model.tags["password"]) == ("test", "***")
    metrics = {(m.key, m.step, m.value) for m in model.metrics}
    assert metrics == {("loss", 2, 0.25)}  # NaN would be 0 there
    assert store.rows(run, "loss") == [(1, 0.5), (2, 0.25)]  # none is doubled
    (version,) = store.client.search_model_versions("name='all of torch'")
    assert (version.run_id, version.source) == (run.info.run_id, model.artifact_location)


@pytest.mark.slow
def test_models_are_loaded_by_every_address_with_signature_and_example(logged: Any) -> None:
    loaded, expected = logged["loaded"], logged["expected"]
    for name in ("torch", "lightning", "keras"):
        (inputs,) = loaded[name]["inputs"]
        assert inputs["tensor-spec"] == {"dtype": "float32", "shape": [-1, 3]}
        assert loaded[name]["run_id"] == logged["run_id"]
        assert loaded[name]["model_id"].startswith("m-")
        assert len(loaded[name]["answer"]) == 4
    for answer in (loaded["torch"]["answer"], loaded["version"], loaded["by_id"]):
        assert answer == [pytest.approx(row, abs=1e-5) for row in expected]
    assert loaded["example"][3] == pytest.approx([9 / 11, 10 / 11, 1.0])
    assert loaded["pipeline"]["inputs"][0]["type"] == "string"
    assert loaded["pipeline"]["answer"] == ["label", "score"]
    assert loaded["parts"] == "TextClassificationPipeline"


@pytest.mark.slow
def test_a_training_keeps_its_model_and_waits_for_no_network(logged: Any) -> None:
    assert logged["modes_kept"]
    assert logged["asked_for"] == []
    assert logged["left_behind"] == []


@pytest.mark.slow
def test_what_cannot_be_saved_is_told_in_one_sentence(logged: Any) -> None:
    assert "log_model: mlflow.pytorch cannot save 'none': " in logged["no_example"]
    assert "input_example is required" in logged["no_example"]
    assert 'pass a pipeline, or {"model": model, "tokenizer": tokenizer}' in logged["bare"]
    assert "takes a model of PyTorch, Lightning, Keras or scikit-learn" in logged["array"]
    assert "unexpected keyword argument 'wrong'" in logged["unknown"]
    faults = [logged[key] for key in ("no_example", "bare", "array", "unknown")]
    assert not any("\n" in fault for fault in faults)
    folders = {
        path.name.partition("-")[0] for path in (logged["folder"] / "run" / FOLDER).iterdir()
    }
    assert not folders & {"none", "bare", "array", "unknown"}  # nothing is left of them


@pytest.mark.slow
def test_no_secret_is_in_a_saved_model(logged: Any, kit: Any) -> None:
    secrets = (b"geheim-geheim", b"s3cr3t-t0ken-value", b"hunter2hunter2")
    files = [path for path in logged["folder"].rglob("*") if path.is_file()]
    assert any(path.name == "requirements.txt" for path in files)
    for file in files:
        content = file.read_bytes()
        assert not any(secret in content for secret in secrets), file


MLMODEL = "flavors:\n  python_function:\n    loader_module: mine\nmodel_id: null\n"


def write_model(run: Any, name: str = "net-1", **logged: Any) -> Path:
    """A saved model that a run has logged."""
    folder: Path = run.journal.path.parent / FOLDER / name
    (folder / "data").mkdir(parents=True)
    (folder / "MLmodel").write_text(MLMODEL)
    (folder / "data" / "weights").write_bytes(b"12345")
    run.journal.append("model", f=f"{FOLDER}/{name}", logged={"name": "net", **logged})
    return folder


def files_of(store: Any, model: Any) -> dict[str, int]:
    root = Path(url2pathname(urlsplit(model.artifact_location).path))
    paths = [path for path in root.rglob("*") if path.is_file()]
    return {path.relative_to(root).as_posix(): path.stat().st_size for path in paths}


def test_a_replay_adds_nothing(store: Any, kit: Any, tmp_path: Path) -> None:
    run = kit.begin(tmp_path / "run")
    run.tracker.log_metric("loss", 0.5, 1)
    write_model(run, step=1, metrics={"loss": (1, 0.5)}, registered_as="digits")
    run.close("FINISHED")
    kit.ship()
    pictures = []
    for _ in range(2):
        (model,) = models_of(store)["net"]
        found = store.run()
        versions = store.client.search_model_versions()
        outputs = [(o.model_id, o.step) for o in found.outputs.model_outputs]
        metrics = [(m.key, m.step, m.value) for m in model.metrics]
        pictures.append((model.model_id, str(model.status), outputs, metrics, len(versions)))
        kit.replay(store, run)
    assert pictures[0] == pictures[1]
    assert pictures[0][1:] == ("READY", [(model.model_id, 1)], [("loss", 1, 0.5)], 1)
    assert files_of(store, model).keys() == {"MLmodel", "data/weights"}


def test_a_kill_after_any_call_doubles_nothing(store: Any, kit: Any, tmp_path: Path) -> None:
    run = kit.begin(tmp_path / "run")
    sink = MLflowSink(store.uri)
    sink.connect()
    client = sink._client
    run_id = store.client.create_run(store.client.create_experiment("digits")).info.run_id
    shown = LoggedModel("net", 1, metrics={"loss": (1, 0.5)}, registered_as="digits")
    for calls in range(1, 99):
        folder = write_model(run, f"net-{calls}")
        sink._client = KilledAfter(client, calls)  # type: ignore[assignment]
        try:
            sink.log_model(run_id, folder, shown)
        except Killed:
            sink._client = client
            sink.log_model(run_id, folder, shown)
        else:
            break
    assert calls > 10  # there was something to be killed in
    models = models_of(store)["net"]
    assert len(models) == calls
    outputs = store.client.get_run(run_id).outputs.model_outputs
    assert len(outputs) == len(store.client.search_model_versions()) == calls
    for number, model in enumerate(models, 1):
        assert str(model.status) == "READY"
        assert files_of(store, model).keys() == {"MLmodel", "data/weights"}
        assert [(m.key, m.step, m.value) for m in model.metrics] == [("loss", 1, 0.5)]
        versions = [{"name": "digits", "version": number}]
        assert json.loads(model.tags["mlflow.modelVersions"]) == versions


def test_what_a_store_has_lost_is_uploaded_again(store: Any, kit: Any, tmp_path: Path) -> None:
    run = kit.begin(tmp_path / "run")
    run.tracker.log_input({"name": "digits"})
    write_model(run)
    run.close("FINISHED")
    kit.ship()
    (model,) = models_of(store)["net"]
    store.client.delete_logged_model(model.model_id)
    verified = kit.explr("sync", "--verify", str(tmp_path / "run"))
    assert verified.returncode == 1
    assert "MLflow lacks the model net-1" in verified.stdout + verified.stderr
    assert kit.explr("sync", str(tmp_path / "run")).returncode == 0
    (again,) = models_of(store)["net"]
    assert str(again.status) == "READY"
    assert again.model_id != model.model_id


def test_a_refused_model_is_named_and_shown_as_failed(
    store: Any, kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = kit.begin(tmp_path / "run")
    write_model(run)
    run.tracker.log_metric("loss", 0.5, 1)
    run.close("FINISHED")

    def refuse(*_: Any, **__: Any) -> None:
        raise Refused("too large")

    with monkeypatch.context() as patch:
        patch.setattr("mlflow.MlflowClient.log_model_artifacts", refuse)
        kit.ship()
    found = store.run()
    assert found.info.status == "FINISHED"
    assert found.data.tags["explr.missing"] == (
        f"1 artifact is missing: {FOLDER}/net-1 (too large)"
    )
    assert [str(model.status) for model in models_of(store)["net"]] == ["FAILED"]
    assert kit.explr("sync", str(tmp_path / "run")).returncode == 0
    assert [str(model.status) for model in models_of(store)["net"]] == ["READY"]
    assert store.run().data.tags["explr.missing"] == "nothing"


def test_a_model_that_was_deleted_before_its_upload_is_named(
    store: Any, kit: Any, tmp_path: Path
) -> None:
    run = kit.begin(tmp_path / "run")
    shutil.rmtree(write_model(run))
    run.close("FINISHED")
    kit.ship()
    assert "deleted before its upload" in store.run().data.tags["explr.missing"]
    assert models_of(store) == {}


@pytest.mark.parametrize("name", ["", " ", "a/b", "a:b", "v1.2", "50%", "it's", '"a"', None, 3])
def test_names_that_mlflow_refuses_are_refused_at_once(name: Any) -> None:
    with pytest.raises(ValueError, match="log_model: a name is a text without "):
        NullTracker().log_model(object(), name)
    with pytest.raises(ValueError, match="log_model: the name of a registered model has no '/'"):
        check_names("net", "a/b")


def test_a_run_that_is_not_tracked_checks_the_model() -> None:
    with pytest.raises(TypeError, match=r"log_model takes a model of PyTorch.*, got"):
        NullTracker().log_model({"a": 1}, "net")


def test_a_framework_is_known_by_the_classes_that_a_model_inherits_from() -> None:
    def made(*packages: str) -> Any:
        kind: type = object
        for package in packages:
            kind = type("Model", (kind,), {"__module__": f"{package}.inner"})
        return kind()

    assert flavor_of(made("torch", "lightning", "mine")) == "pytorch"
    assert flavor_of(made("torch", "keras")) == "keras"  # Keras on PyTorch
    assert flavor_of(made("transformers")) == "transformers"
    assert flavor_of({"model": made("torch", "transformers")}) == "transformers"
    assert flavor_of(made("sklearn", "mine")) == "sklearn"
    for model in (made("mine"), {}, {"model": made("torch")}, None):
        with pytest.raises(TypeError, match="log_model takes a model of"):
            flavor_of(model)


def test_a_model_that_is_logged_after_the_end_is_refused(kit: Any, tmp_path: Path) -> None:
    run = kit.begin(tmp_path / "run")
    run.close("FINISHED")
    with pytest.raises(TrackingError, match="the run has ended"):
        write_model(run)
