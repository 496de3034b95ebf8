"""`ctx.tracker.log_input`: data sets of MLflow, and descriptions in the training's own words."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import pandas
import pytest

from explr.tracking.journal.lines import read_events
from explr.tracking.logged.datasets import MAX_DETAILS, MAX_SOURCE, dataset_of
from explr.tracking.null import NullTracker
from explr.tracking.values import WarnOnce

FRAME = pandas.DataFrame({"a": [1, 2], "b": [0.5, 1.5], "c": ["x", "y"]})


def inputs_of(store: Any, name: str) -> list[dict[str, Any]]:
    found = store.run(name).inputs.dataset_inputs
    return sorted((each.to_dictionary() for each in found), key=lambda d: d["dataset"]["name"])


def datasets(folder: Path) -> list[Any]:
    """Data sets as MLflow's users make them."""
    from mlflow import data

    FRAME.to_csv(folder / "frame.csv")
    return [
        data.from_pandas(FRAME, source=str(folder / "frame.csv"), name="frame", targets="c"),
        data.from_numpy(numpy.zeros((3, 2)), source="s3://bucket/key", name="array"),
        data.from_numpy(
            {"x": numpy.zeros(3)}, targets=numpy.ones(3), source="https://host/x.csv", name="named"
        ),
        data.meta_dataset.MetaDataset(data.get_source(data.from_numpy(numpy.ones(1), source="x"))),
    ]


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")  # MLflow's own
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_mlflows_data_sets_arrive_as_mlflow_logs_them(
    store: Any, kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    run = kit.begin(tmp_path / "ours")
    with mlflow.start_run(run_name="theirs"):
        for dataset in datasets(tmp_path):
            for log_input in (run.tracker.log_input, mlflow.log_input):
                log_input(dataset, context="training", tags={"kind": "raw"})
                log_input(dataset, "testing")  # MLflow keeps the first context
    run.close("FINISHED")
    kit.ship()
    ours = inputs_of(store, "ours")
    assert len(ours) == 4
    assert ours == inputs_of(store, "theirs")
    assert ours[0]["tags"] == {"kind": "raw", "mlflow.data.context": "training"}
    (frame,) = [
        each for each in store.run("ours").inputs.dataset_inputs if each.dataset.name == "frame"
    ]
    assert Path(mlflow.data.get_source(frame).load()).read_text() == FRAME.to_csv()


def test_a_description_becomes_a_data_set_of_mlflow(store: Any, kit: Any, tmp_path: Path) -> None:
    from mlflow.data import get_source

    run = kit.begin(tmp_path / "run")
    log_input = run.tracker.log_input
    columns = {"a": "long", "b": float}
    whole = {"source": Path("x/y.csv"), "digest": "d" * 64, "schema": columns}
    log_input({"name": "whole", **whole, "profile": {"num_rows": 2}}, tags={"n": 1})
    log_input({"name": "web", "source": "https://host/x.csv"}, context="test")
    log_input({"name": "bucket", "source": "s3://bucket/key"})
    log_input({"name": "unknown"})
    run.close("FINISHED")
    kit.ship()
    bucket, unknown, web, whole = inputs_of(store, "run")
    assert (web["dataset"]["source_type"], web["tags"]) == ("http", {"mlflow.data.context": "test"})
    assert json.loads(bucket["dataset"]["source"]) == {"uri": "s3://bucket/key"}
    assert unknown["dataset"]["source_type"] == "code"
    dataset = whole["dataset"]
    assert json.loads(dataset["source"]) == {"uri": "x/y.csv"}
    assert dataset["digest"] == "d" * 36
    assert [c["type"] for c in json.loads(dataset["schema"])["mlflow_colspec"]] == ["long", "float"]
    assert json.loads(dataset["profile"]) == {"num_rows": 2}
    assert whole["tags"] == {"n": "1"}
    for found in store.run().inputs.dataset_inputs:
        assert get_source(found).to_json() == found.dataset.source


def test_a_replay_adds_nothing(store: Any, kit: Any, tmp_path: Path) -> None:
    run = kit.begin(tmp_path / "run")
    run.tracker.log_input({"name": "digits"}, "training", {"a": 1})
    run.close("FINISHED")
    kit.ship()
    before = inputs_of(store, "run")
    kit.replay(store, run)
    assert inputs_of(store, "run") == before
    assert len(before) == 1


def test_what_mlflow_refuses_holds_up_nothing(store: Any, kit: Any, tmp_path: Path) -> None:
    run = kit.begin(tmp_path / "run")
    run.tracker.log_input({"name": "good"})
    bad = {"name": "bad", "digest": "d" * 99, "source": "", "source_type": "local"}
    run.journal.append("input", d=bad, g={})
    run.close("FINISHED")
    kit.ship()
    found = store.run()
    assert found.info.status == "FINISHED"
    assert found.data.tags["explr.refused"].startswith("bad (ddd")
    assert [each["dataset"]["name"] for each in inputs_of(store, "run")] == ["good"]


def test_it_is_the_journal_that_is_written_and_mlflow_is_not_imported() -> None:
    code = """
import sys, tempfile
from pathlib import Path
from explr.tracking.client import ExplrTracker
from explr.tracking.journal.journal import Journal
journal = Journal.create(Path(tempfile.mkdtemp()))
ExplrTracker(journal, journal.path.parent, None).log_input({"name": "digits"}, "training")
assert "digits" in journal.path.read_text()
print([name for name in ("mlflow", "numpy", "pandas") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_secret_is_written(kit: Any, tmp_path: Path) -> None:
    run = kit.begin(tmp_path / "run")
    run.tracker.log_input(
        {
            "name": "digits",
            "source": "postgresql://me:geheim-geheim@host/db",
            "schema": {"password": "string"},
            "profile": {"api_key": "sk-abcdefghijklmnop1234567890"},
        },
        tags={"token": "s3cr3t-t0ken-value"},
    )
    (event,) = [e for e, _ in read_events(run.journal.path) if e["k"] == "input"]
    assert json.loads(event["d"]["source"])["uri"].endswith("@host/db")
    assert json.loads(event["d"]["schema"])["mlflow_colspec"][0]["name"] == "password"
    assert json.loads(event["d"]["profile"]) == {"api_key": "***"}
    assert event["g"] == {"token": "***"}
    assert "geheim" not in run.journal.path.read_text()


@pytest.mark.parametrize(
    ("dataset", "error", "words"),
    [
        (FRAME, TypeError, "a data set of mlflow.data, such as mlflow.data.from_pandas"),
        ("digits.csv", TypeError, 'a mapping such as {"name": "digits"'),
        ({"source": "x"}, ValueError, 'needs a name, as in {"name": "digits"}'),
        ({"name": " "}, ValueError, "needs a name"),
        (
            {"name": "x", "path": "y"},
            ValueError,
            "has name, source, digest, schema, profile, not pa",
        ),
        ({"name": "x", "schema": [1]}, TypeError, "the schema of a data set is a mapping"),
        ({"name": "x", "source": "y" * MAX_SOURCE}, ValueError, "at most 65535 characters"),
    ],
)
def test_what_is_no_data_set_is_told_in_a_sentence(
    dataset: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as caught:
        NullTracker().log_input(dataset)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_tags_that_are_no_mapping_are_told_in_a_sentence(kit: Any, tmp_path: Path) -> None:
    tracker = kit.begin(tmp_path / "run").tracker
    words = "are a mapping of names to values, got"
    for call in (
        lambda: tracker.log_input({"name": "digits"}, tags=["raw"]),
        lambda: tracker.log_model(None, "net", tags=["raw"]),
        lambda: tracker.log_model(None, "net", params=3),
        lambda: tracker.set_tags(["raw"]),
        lambda: NullTracker().log_input({"name": "digits"}, tags="raw"),
    ):
        with pytest.raises(TypeError, match=words):
            call()


def test_details_that_are_too_long_are_left_out_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    wide = {f"gene {i}": "double" for i in range(MAX_DETAILS["schema"] // 50)}
    for _ in range(2):
        found = dataset_of({"name": "genes", "schema": wide}, warn := WarnOnce())
        assert "schema" not in found
    dataset_of({"name": "genes", "schema": wide}, warn)
    assert caplog.text.count("the schema of data set genes is left out") == 2


def test_a_digest_changes_with_the_description() -> None:
    warn = WarnOnce()
    digests = {dataset_of({"name": n, "source": s}, warn)["digest"] for n in "ab" for s in "cd"}
    assert len(digests) == 4
    assert {len(digest) for digest in digests} == {8}
