import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from explr.tracking.logged.media import dictionary_text, image_of
from explr.tracking.logged.tables import table_text, tag_of
from explr.tracking.mlflow.names import MAX_TAG
from explr.tracking.null import NullTracker
from explr.tracking.values import WarnOnce

Image = pytest.importorskip("PIL.Image")


def test_dictionaries_tables_and_images_arrive(store: Any, kit: Any, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    run = kit.begin(tmp_path / "run")
    given = {"lr": 0.1, "path": Path("x"), "more": {"ü": [1, None]}}
    written = {"lr": 0.1, "path": "x", "more": {"ü": [1, None]}}
    tracker = run.tracker
    tracker.log_dict(given, "settings.json")
    tracker.log_dict(given, "deep/settings.yaml")
    tracker.log_table({"name": ["a", "b"], "loss": np.array([0.5, math.nan])}, "table.json")
    tracker.log_table({"name": "c", "note": "later"}, "./table.json")
    tracker.log_image(np.zeros((4, 6), dtype=np.uint8), "black.png")
    for step in (1, 2):
        tracker.log_image(np.full((300, 600, 3), 0.5), key="samples/first", step=step)
    run.close("FINISHED")
    kit.ship()
    found = store.run()
    sizes = store.artifacts(found)

    def content(name: str) -> bytes:
        local = store.client.download_artifacts(found.info.run_id, name)
        return bytes(Path(local).read_bytes())

    assert json.loads(content("settings.json")) == written
    assert yaml.safe_load(content("deep/settings.yaml")) == written
    assert Image.open(io.BytesIO(content("black.png"))).size == (6, 4)
    (tables,) = json.loads(found.data.tags["mlflow.loggedArtifacts"])
    assert tables == {"path": "table.json", "type": "table"}
    assert found.data.tags["mlflow.loggedImages"] == "True"
    table = pandas.read_json(io.BytesIO(content("table.json")), orient="split")
    assert table.to_dict("list")["name"] == ["a", "b", "c"]
    assert table["note"].tolist()[-1] == "later"
    assert table["loss"].tolist()[0] == 0.5
    images = sorted(name for name in sizes if name.startswith("images/"))
    assert len(images) == 4
    for step in (1, 2):
        (small, whole) = [n for n in images if n.startswith(f"images/samples~first+step+{step}+")]
        assert Image.open(io.BytesIO(content(small))).size == (256, 128)
        assert Image.open(io.BytesIO(content(whole))).size == (600, 300)


@pytest.mark.parametrize(
    ("array", "shown"),
    [
        (np.array([[0, 255]], dtype=np.int64), [0, 255]),
        (np.array([[0.0, 1.0]]), [0, 255]),
        (np.array([[False, True]]), [0, 255]),
        (np.array([[[7], [8]]], dtype=np.uint8), [7, 8]),
    ],
)
def test_arrays_become_images(array: Any, shown: list[int]) -> None:
    assert np.asarray(image_of(array, WarnOnce())).ravel().tolist() == shown


@pytest.mark.parametrize(
    ("array", "shown"),
    [
        (np.array([[-1.0, 0.0, 1.0]]), [0, 127, 255]),
        (np.array([[0.0, 127.5, 255.0]], dtype=np.float16), [0, 127, 255]),
        (np.array([[0, 2000, 4000]], dtype=np.uint16), [0, 127, 255]),
        (np.array([[[-3]], [[5]]]), [0, 255]),
        (np.array([[0.5, math.nan, math.inf]]), [127, 0, 255]),
        (np.array([[2.0, 2.0]]), [255, 255]),
        (np.array([[math.nan]]), [0]),
    ],
)
def test_other_values_are_rescaled_and_told_once(
    array: Any, shown: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    warn = WarnOnce()
    for _ in range(2):
        assert np.asarray(image_of(array, warn)).ravel().tolist() == shown
    (message,) = caplog.messages
    assert message.startswith("log_image: values must lie between 0 and ")


@pytest.mark.slow
def test_tensors_and_images_of_mlflow_are_images() -> None:
    torch = pytest.importorskip("torch")
    shown = [[0, 255], [255, 0]]
    eye = torch.tensor([[0.0, 1.0], [1.0, 0.0]], requires_grad=True)
    for given in (eye, eye.bfloat16(), eye.bool(), eye[:, :, None], (eye * 255).to(torch.uint8)):
        assert np.asarray(image_of(given, WarnOnce())).tolist() == shown
    with pytest.raises(ValueError, match=r"got \(3, 8, 8\): put its channels last"):
        image_of(torch.zeros(3, 8, 8), WarnOnce())


@pytest.mark.parametrize(
    ("image", "error"),
    [
        (np.zeros((2, 2, 2)), ValueError),
        (np.zeros(4), ValueError),
        (np.zeros((0, 4)), ValueError),
        (np.array([["x"]]), TypeError),
    ],
)
def test_what_is_no_image_is_refused(image: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="log_image"):
        NullTracker().log_image(image, "x.png")


def test_an_image_has_one_place(kit: Any, store: Any, tmp_path: Path) -> None:
    tracker = kit.begin(tmp_path / "run").tracker
    for place in ({}, {"artifact_file": "x.png", "key": "x"}):
        with pytest.raises(TypeError, match="one of artifact_file"):
            tracker.log_image(np.zeros((2, 2)), **place)
    with pytest.raises(ValueError, match="a key has letters"):
        tracker.log_image(np.zeros((2, 2)), key="a?b")


def test_what_is_no_table_is_refused(kit: Any, store: Any, tmp_path: Path) -> None:
    tracker = kit.begin(tmp_path / "run").tracker
    with pytest.raises(ValueError, match="a: 1, b: 2"):
        tracker.log_table({"a": [1], "b": [1, 2]}, "t.json")
    with pytest.raises(ValueError, match=r"ends in \.json"):
        tracker.log_table({"a": [1]}, "t.csv")
    with pytest.raises(TypeError, match="got int"):
        tracker.log_table(3, "t.json")


@pytest.mark.parametrize(
    ("data", "columns", "rows"),
    [
        ({"a": np.array([1, 2]), "b": "x"}, ["a", "b"], [[1, "x"], [2, "x"]]),
        ({"a": 1, "b": None, "c": np.float32(0.5)}, ["a", "b", "c"], [[1, None, 0.5]]),
        ({"a": np.array([[1.0, math.nan], [2.0, math.inf]])}, ["a"], [[[1, None]], [[2, None]]]),
        ({"a": range(2), "b": (np.float64("nan"), Path("x"))}, ["a", "b"], [[0, None], [1, "x"]]),
        ({"a": [np.arange(2), {"b": {1}}]}, ["a"], [[[0, 1]], [{"b": [1]}]]),
        ({1: [1], "1": [2], (1, 2): [3]}, ["1", "1.1", "(1, 2)"], [[1, 2, 3]]),
        ({"a": np.array([])}, ["a"], []),
        ({}, [], []),
    ],
)  # fmt: skip
def test_what_is_a_table(data: Any, columns: list[str], rows: list[Any]) -> None:
    assert json.loads(table_text(data, None)) == {"columns": columns, "data": rows}


@pytest.mark.slow
def test_columns_of_libraries() -> None:
    torch = pytest.importorskip("torch")
    pandas = pytest.importorskip("pandas")
    for data in (
        pandas.DataFrame([[1, 0.5], [2, math.nan]], columns=["a", "a"]),
        pandas.DataFrame({"a": [1, 2], "a.1": [0.5, None]}, index=[7, 7]),
        {"a": torch.tensor([1, 2]), "a.1": torch.tensor([0.5, math.nan], requires_grad=True)},
        {"a": pandas.Series([1, 2]), "a.1": pandas.array([0.5, pandas.NA], dtype="Float64")},
    ):
        content = json.loads(table_text(data, None))
        assert content == {"columns": ["a", "a.1"], "data": [[1, 0.5], [2, None]]}
    times = pandas.DataFrame({0: pandas.to_datetime(["2026-01-02", None])})
    assert json.loads(table_text(times, None))["data"] == [["2026-01-02 00:00:00"], [None]]


def test_a_damaged_table_is_begun_anew(caplog: pytest.LogCaptureFixture) -> None:
    text = table_text({"a": [1, 2]}, None)
    assert json.loads(table_text({"a": 3}, text[:-5]))["data"] == [[3]]
    assert "the earlier rows are lost" in caplog.text


def test_a_dictionary_holds_anything() -> None:
    given = {"a": np.arange(2), 3: {2, 1}, ("b", 1): [np.float32(0.5), Path("x")], "n": math.nan}
    plain = {"a": [0, 1], "3": [1, 2], "('b', 1)": [0.5, "x"]}
    assert json.loads(dictionary_text(given, "x.json")) == {**plain, "n": "NaN"}
    read = yaml.safe_load(dictionary_text(given, "x.yaml"))
    assert math.isnan(read.pop("n"))
    assert read == plain


def test_the_list_of_200_tables_is_json() -> None:
    names = [f"tables/epoch_{epoch:03}.json" for epoch in range(200)]
    tag, listed = tag_of(names)
    assert len(tag) <= MAX_TAG
    assert 150 < listed < 200
    assert [one["path"] for one in json.loads(tag)] == names[-listed:]


def test_many_tables_over_two_attempts(
    kit: Any,
    store: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All are among the artifacts, and MLflow lists the newest, also after a resume."""
    folder = tmp_path / "run"
    names = [f"predictions/{'validation_' * 18}{epoch:03}.json" for epoch in range(50)]
    run = kit.begin(folder)
    for epoch, name in enumerate(names[:25]):
        run.tracker.log_table({"epoch": epoch}, Path(name))
    run.tracker.log_table({"epoch": 0}, "kept.json")
    run.close("FAILED")
    run = kit.begin(folder, resumes=True)
    for epoch, name in enumerate(names[25:]):
        run.tracker.log_table({"epoch": epoch}, name)
    run.tracker.log_table({"epoch": 1}, "kept.json")
    run.close("FINISHED")
    kit.ship()
    found = store.run()
    listed = [one["path"] for one in json.loads(found.data.tags["mlflow.loggedArtifacts"])]
    assert 25 < len(listed) < 50
    assert listed == [*names[:25], "kept.json", *names[25:]][-len(listed) :]
    assert sum("shows only the newest" in message for message in caplog.messages) == 1
    assert [*store.artifacts(found, "predictions")] == names
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)  # MLflow searches there
    experiment, run_id = found.info.experiment_id, found.info.run_id
    read = store.client.load_table(experiment, "kept.json", run_ids=[run_id])
    assert read["epoch"].tolist() == [0, 1]

    other = kit.begin(folder)  # another run in the same folder begins its tables anew
    other.tracker.log_table({"epoch": 7}, "kept.json")
    other.close("FINISHED")
    assert json.loads((folder / "artifacts/kept.json").read_text())["data"] == [[7]]
